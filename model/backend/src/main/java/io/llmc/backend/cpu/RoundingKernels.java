// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Activations that go through codes, row by row. Divisions are IEEE's: a reciprocal would move
/// values at ties.
final class RoundingKernels {
    private final Workers workers;

    RoundingKernels(Workers workers) {
        this.workers = workers;
    }

    /// A scale for each tile of a row, or, where they are given, one for all rows.
    void round(Tensor out, Tensor x, InputRounding rounding) {
        ActivationScheme scheme = rounding.scheme();
        int cols = Math.toIntExact(x.cols());
        int width = Math.toIntExact(Math.min(cols, scheme.tiles().width(cols)));
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        Given[] given = new Given[Math.ceilDiv(cols, width)];
        Arrays.setAll(given, tile -> Given.of(rounding, tile));
        workers.forEach(
                Math.toIntExact(x.rows()),
                (r, scratch) -> {
                    // A vector at a tile's end writes past it; the next tile overwrites that.
                    float[] row = scratch.floats(0, cols + N);
                    float[] rounded = scratch.floats(1, cols + N);
                    Lanes.read(row, 0, xs, DType.F32, (long) r * cols, cols);
                    for (int from = 0; from < cols; from += width) {
                        int to = Math.min(cols, from + width);
                        round(rounded, row, from, to, scheme, given[from / width]);
                    }
                    Lanes.write(outs, DType.F32, (long) r * cols, rounded, 0, cols);
                });
    }

    /// The numbers that a layer keeps; 1 and 0 stand in for those that it does not.
    record Given(float scale, float zero) {
        /// @param tile beside others in a row
        static Given of(InputRounding r, int tile) {
            Tensor s = r.scale();
            int at = r.scheme().dynamic() ? 0 : tile;
            return new Given(
                    s == null ? 1 : Floats.get(s.bytes(), s.dtype(), at),
                    r.zero() == null ? 0 : r.zero().bytes().get(ValueLayout.JAVA_BYTE, 0));
        }
    }

    private static void round(
            float[] out, float[] x, int from, int to, ActivationScheme scheme, Given given) {
        Encoding.Grid<?> grid = scheme.grid();
        switch (scheme.codes()) {
            case Codes.Floats codes -> {
                float scale = given.scale();
                if (scheme.dynamic()) {
                    float global = grid.scales() == ScaleKind.NESTED ? given.scale() : 1;
                    scale = grid.scale(largest(x, from, to), DType.F32, global) / global;
                }
                SmallFloats floats = SmallFloats.of(codes);
                for (int i = from; i < to; i += N) {
                    floats.nearest(FloatVector.fromArray(F, x, i).div(scale))
                            .mul(scale)
                            .intoArray(out, i);
                }
            }
            case Codes.Ints codes ->
                    IntegerSteps.of(x, from, to, scheme, codes, given).round(out, x, from, to);
        }
    }

    /// The largest magnitude of `x[from, to)`, NaN where there is one: without their signs, floats
    /// are in the order of their bits, with NaN above infinity.
    static float largest(float[] x, int from, int to) {
        int i = from;
        IntVector most = IntVector.zero(I);
        for (; i <= to - N; i += N) {
            most =
                    most.max(
                            FloatVector.fromArray(F, x, i)
                                    .reinterpretAsInts()
                                    .and(Integer.MAX_VALUE));
        }
        int largest = most.reduceLanes(VectorOperators.MAX);
        for (; i < to; i++) {
            largest = Math.max(largest, Float.floatToRawIntBits(x[i]) & Integer.MAX_VALUE);
        }
        return Float.intBitsToFloat(largest);
    }
}
