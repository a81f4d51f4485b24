// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.model.structure.NormSpec;
import io.llmc.tensor.Tensor;

/// A normalisation with its parameters.
///
/// @param weight `[channels]`, or null
/// @param bias `[channels]`, or null
public record Norm(NormSpec spec, Tensor weight, Tensor bias) {
    public void forward(Forward f, Tensor out, Tensor x) {
        f.run(
                switch (spec.kind()) {
                    case RMS -> new ForwardOp.RmsNorm(out, x, weight, spec.eps(), spec.offset());
                    case LAYER -> new ForwardOp.LayerNorm(out, x, weight, bias, spec.eps());
                });
    }

    /// Over each head of `[tokens, heads * headDim]` by itself.
    void forwardHeads(Forward f, Tensor out, Tensor x, int headDim) {
        long heads = x.shape().size() / headDim;
        forward(f, out.reshape(heads, headDim), x.reshape(heads, headDim));
    }
}
