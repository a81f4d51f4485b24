// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Causal attention in tiles.
final class AttentionKernels {
    private final Kernels kernels;

    AttentionKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "attention");
    }

    void attention(Tensor out, Tensor q, Tensor k, Tensor v, Op.AttentionSpec spec) {
        throw new UnsupportedOperationException("attention");
    }
}
