// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;

/// The gradient of attention, and the loss between two attentions.
final class AttentionGradKernels {
    private final Kernels kernels;

    AttentionGradKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "attention_grad");
    }

    void gradient(Op.AccumulateAttentionGrad op) {
        throw new UnsupportedOperationException("gradient");
    }

    void loss(Op.AccumulateAttentionLoss op) {
        throw new UnsupportedOperationException("loss");
    }
}
