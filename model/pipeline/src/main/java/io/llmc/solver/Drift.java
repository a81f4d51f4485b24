// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.tensor.Tensor;

/// How a layer's inputs x in a compressed model go with what it should get to see: the inputs x0 of
/// the original model, and the part of its residual stream that the compressed model lacks.
///
/// @param in columns of x
/// @param hidden columns of the residual stream
/// @param writes whether the layer's output is added to the stream
public record Drift(long in, long hidden, boolean writes)
        implements Observer<LayerInput, Drift.Sum> {
    /// @param gram of x
    /// @param cross F32 `[in, in]`: `x^T x0`
    /// @param lag F32 `[hidden, in]`: what the stream lacks, transposed, times x; null where the
    ///   layer does not write
    public record Sum(Gram.Sum gram, Tensor cross, Tensor lag) {}

    /// Bytes of one sum, at most.
    public static long bytes(long in, long hidden) {
        return Gram.bytes(in) + 4 * in * (in + hidden) + 512;
    }

    @Override
    public long bytes() {
        return bytes(in, hidden);
    }

    @Override
    public Sum empty(Desk d) {
        Gram.Sum gram = new Gram(in).empty(d);
        return new Sum(gram, d.f32(in, in), writes ? d.f32(hidden, in) : null);
    }

    @Override
    public Sum see(Sum s, LayerInput input) {
        Desk d = s.gram.desk();
        Tensor x = input.x();
        d.run(new GradientOp.AccumulateOuter(s.cross, x, input.original().x()));
        if (writes) {
            d.run(new GradientOp.AccumulateOuter(s.lag, input.original().lag(), x));
        }
        return new Sum(new Gram(in).see(s.gram, x), s.cross, s.lag);
    }

    @Override
    public Sum merge(Sum a, Sum b) {
        Desk d = a.gram.desk();
        d.run(new ForwardOp.Add(a.cross, a.cross, b.cross, 1));
        if (writes) {
            d.run(new ForwardOp.Add(a.lag, a.lag, b.lag, 1));
        }
        return new Sum(new Gram(in).merge(a.gram, b.gram), a.cross, a.lag);
    }
}
