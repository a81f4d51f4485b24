// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Steps of an optimizer.
final class TrainingKernels {
    private final Kernels kernels;

    TrainingKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "training");
    }

    void adamW(Tensor w, Tensor m, Tensor v, Tensor g, Op.AdamSpec spec) {
        throw new UnsupportedOperationException("adamW");
    }

    void adamW8(Op.AccumulateAdamW8 op) {
        throw new UnsupportedOperationException("adamW8");
    }
}
