// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Losses of rows of logits and of hidden states, one block a row.
final class LossKernels {
    private final Kernels kernels;

    LossKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "losses");
    }

    void negativeLogLikelihood(Tensor out, Tensor logits, Tensor targets) {
        throw new UnsupportedOperationException("negativeLogLikelihood");
    }

    void divergence(Tensor out, Tensor p, Tensor q) {
        throw new UnsupportedOperationException("divergence");
    }

    void argMax(Tensor out, Tensor x) {
        throw new UnsupportedOperationException("argMax");
    }

    void distill(Op.DistillLoss op) {
        throw new UnsupportedOperationException("distill");
    }

    void distillTop(Op.DistillTopLoss op) {
        throw new UnsupportedOperationException("distillTop");
    }

    void topLogProbabilities(Op.TopLogProbabilities op) {
        throw new UnsupportedOperationException("topLogProbabilities");
    }

    void hidden(Op.AccumulateHiddenLoss op) {
        throw new UnsupportedOperationException("hidden");
    }
}
