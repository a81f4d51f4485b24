// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.NormSpec;
import io.llmc.tensor.Tensor;

/// A normalisation with its parameters.
///
/// @param weight `[channels]`, or null
/// @param bias `[channels]`, or null
public record Norm(NormSpec spec, Tensor weight, Tensor bias) {
    public void forward(Forward f, Tensor out, Tensor x) {
        switch (spec.kind()) {
            case RMS -> f.run(new ForwardOp.RmsNorm(out, x, weight, spec.eps(), spec.offset()));
            case LAYER -> {
                if (spec.offset() == 0) {
                    f.run(new ForwardOp.LayerNorm(out, x, weight, bias, spec.eps()));
                } else {
                    centered(f, out, x);
                }
            }
        }
    }

    private void centered(Forward f, Tensor out, Tensor x) {
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor plain = inner.allocate(x.rows(), x.cols());
            Tensor weighted = inner.allocate(x.rows(), x.cols());
            f.run(new ForwardOp.LayerNorm(plain, x, null, null, spec.eps()));
            f.run(new ForwardOp.MultiplyRow(weighted, plain, weight, spec.offset()));
            f.run(new ForwardOp.AddRow(out, weighted, bias));
        }
    }

    /// Over each head of `[tokens, heads * headDim]` by itself.
    void forwardHeads(Forward f, Tensor out, Tensor x, int headDim) {
        long heads = x.shape().size() / headDim;
        forward(f, out.reshape(heads, headDim), x.reshape(heads, headDim));
    }
}
