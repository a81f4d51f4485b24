// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.formats.GridSpec;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Rounding to small floats: the largest magnitude of a tile becomes the largest number
/// (Micikevicius et al., 2022, arXiv 2209.05433, section 3). On the host, since each weight is
/// looked at once.
///
/// Quotients are rounded to the type of the weights first, as compressed-tensors has it: where
/// weights lie on a grid of their own, ties decide which codes they get.
final class FloatMath {
    private FloatMath() {}

    /// @param error sum of squared differences over sum of squared weights
    record Result(Weight.Scaled weight, double error) {}

    /// @param d receives the weight
    /// @param w dense `[out, in]`
    static Result quantize(Desk d, Weight.Dense w, GridSpec<Codes.Floats> target) {
        Tensor dense = w.values();
        Codes.Floats kind = target.grid().codes();
        Tiles tiles = target.grid().tiles();
        int out = Math.toIntExact(dense.rows());
        int in = Math.toIntExact(dense.cols());
        try (Arena memory = Arena.ofConfined()) {
            MemorySegment values = memory.allocate(dense.byteSize(), 64);
            d.backend().download(values, dense);
            Tensor scales =
                    Tensor.of(
                            memory.allocate(
                                    target.scaleType().bytesFor(tiles.down(out) * tiles.across(in)),
                                    64),
                            target.scaleType(),
                            tiles.down(out),
                            tiles.across(in));
            chooseScales(scales, values, dense, kind, tiles);
            MemorySegment codes = memory.allocate((long) out * in, 64);
            double error = 0;
            double norm = 0;
            for (int o = 0; o < out; o++) {
                for (int i = 0; i < in; i++) {
                    long at = (long) o * in + i;
                    float x = Floats.get(values, dense.dtype(), at);
                    float scale =
                            Floats.get(scales.bytes(), scales.dtype(), tile(tiles, dense, o, i));
                    int code = kind.code(Floats.round(x / scale, dense.dtype()));
                    codes.set(ValueLayout.JAVA_BYTE, at, (byte) code);
                    double lost = x - Floats.round(kind.value(code) * scale, scales.dtype());
                    error += lost * lost;
                    norm += (double) x * x;
                }
            }
            Tensor held = d.allocate(kind.type(), out, in);
            Tensor heldScales = d.allocate(scales.dtype(), scales.rows(), scales.cols());
            d.backend().upload(held, codes);
            d.backend().upload(heldScales, scales.bytes());
            return new Result(
                    new Weight.Scaled(target.grid(), held, heldScales),
                    RelativeError.of(error, norm));
        }
    }

    private static long tile(Tiles tiles, Tensor w, long o, long i) {
        return o / tiles.height(w.rows()) * tiles.across(w.cols()) + i / tiles.width(w.cols());
    }

    /// `scale = amax / reach`, rounded to the type of the scales; 1 stands in for the amax of a
    /// tile that is all zeros, or too small for a scale of that type.
    private static void chooseScales(
            Tensor scales, MemorySegment values, Tensor w, Codes.Floats kind, Tiles tiles) {
        float[] most = new float[Math.toIntExact(scales.shape().size())];
        for (long o = 0; o < w.rows(); o++) {
            for (long i = 0; i < w.cols(); i++) {
                int tile = (int) tile(tiles, w, o, i);
                float x = Math.abs(Floats.get(values, w.dtype(), o * w.cols() + i));
                most[tile] = Math.max(most[tile], x);
            }
        }
        for (int t = 0; t < most.length; t++) {
            DType type = scales.dtype();
            float scale = Floats.round(most[t] / kind.reach(), type);
            Floats.set(scales.bytes(), type, t, scale > 0 ? scale : 1 / kind.reach());
        }
    }
}
