// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.learn;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.OptimizerOp;
import io.llmc.model.Linear;
import io.llmc.model.Tape;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

/// A packed layer while its codes and scales learn. Between steps the layer multiplies by plain
/// values: those that a reader of the codes will see.
final class LearnedLayer {
    /// How far from the border between two codes a weight begins at least, in steps of the grid: on
    /// the border the first gradient would undo what the pass before has found.
    private static final float MARGIN = 0.05f;

    private final Backend backend;
    private final Linear linear;
    private final Weight.Grouped begun;

    /// What is rounded, F32 `[out, in]`.
    private final Tensor w;

    /// Of the loss by `values`, as `values`.
    private final Tensor gradient;

    /// What the layer multiplies by, F32 `[out, in]`.
    private final Tensor values;

    /// F32 `[out, groups]`
    private final Tensor scales;

    private final Tensor codes;

    /// As they would be written now.
    private final Weight.Grouped rounded;

    /// @param d room for [#bytes]
    /// @param plain the weight before it was packed
    LearnedLayer(Desk d, Linear linear, Weight.Grouped begun, Weight plain) {
        this.backend = d.backend();
        this.linear = linear;
        this.begun = begun;
        long out = begun.outFeatures();
        long in = begun.inFeatures();
        w = d.f32(out, in);
        gradient = d.f32(out, in);
        values = d.f32(out, in);
        scales = d.f32(out, begun.scales().cols());
        codes = d.allocate(DType.U8, out, in);
        rounded = copy(d);
        begin(d, plain);
        round();
        d.run(new ForwardOp.Zero(gradient));
        linear.replace(new Weight.Dense(values));
    }

    /// Bytes of a layer's state, its codes of 8 bits at most and its groups of 8 weights at least.
    static long bytes(long out, long in) {
        return out * in * (4 + 4 + 4 + 1 + 1 + 1) + 16 * out + (1 << 12);
    }

    private Weight.Grouped copy(Desk d) {
        return new Weight.Grouped(
                begun.grid(),
                begun.inFeatures(),
                d.allocate(DType.I32, begun.codes().rows(), begun.codes().cols()),
                d.allocate(begun.scales().dtype(), begun.scales().rows(), begun.scales().cols()),
                begun.zeros(),
                null);
    }

    /// Each weight as it was, or the nearest number that is rounded to the code that it has.
    private void begin(Desk d, Weight plain) {
        d.run(new ForwardOp.Scale(scales, begun.scales(), 1));
        d.run(new CompressionOp.Dequantize(values, begun));
        d.run(new CompressionOp.Dequantize(w, plain));
        float[] x = backend.floats(w);
        float[] now = backend.floats(values);
        float[] steps = backend.floats(scales);
        int in = (int) w.cols();
        int groups = (int) scales.cols();
        long width = begun.grid().tiles().width(in);
        for (int i = 0; i < x.length; i++) {
            float step = steps[i / in * groups + (int) (i % in / width)];
            float code = Math.round(now[i] / step);
            x[i] = Math.clamp(x[i] / step, code - 0.5f + MARGIN, code + 0.5f - MARGIN) * step;
        }
        try (Arena host = backend.host().newArena()) {
            backend.upload(w, host.allocateFrom(ValueLayout.JAVA_FLOAT, x));
        }
    }

    /// The values of the codes that are nearest now.
    private void round() {
        backend.run(new ForwardOp.Scale(rounded.scales(), scales, 1));
        backend.run(
                new CompressionOp.RoundToGrid(
                        codes, null, w, rounded.scales(), rounded.zeros(), rounded.grid()));
        backend.run(
                new CompressionOp.PackCodes(rounded.codes(), codes, rounded.grid().codes().bits()));
        backend.run(new CompressionOp.Dequantize(values, rounded));
    }

    Linear linear() {
        return linear;
    }

    /// Tells a tape where the gradient goes.
    void watch(Tape tape) {
        tape.source(values, gradient);
    }

    void step(OptimizerOp.SignSpec rates) {
        backend.run(
                new OptimizerOp.AccumulateSignStep(
                        w, scales, gradient, codes, begun.zeros(), begun.grid(), rates));
        round();
    }

    /// The layer as it was before it learnt.
    Weight.Grouped begun() {
        return begun;
    }

    /// The layer as it is now.
    ///
    /// @param d receives it
    Weight.Grouped learnt(Desk d) {
        Weight.Grouped copy = copy(d);
        backend.run(new CompressionOp.PackCodes(copy.codes(), codes, copy.grid().codes().bits()));
        backend.run(new ForwardOp.Scale(copy.scales(), rounded.scales(), 1));
        return copy;
    }
}
