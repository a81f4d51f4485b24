// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Chooses which weights are pruned.
final class MaskKernels {
    private final Kernels kernels;

    MaskKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "masks");
    }

    void choose(Op.ChooseMask op) {
        throw new UnsupportedOperationException("choose");
    }

    void countAbove(Tensor out, Tensor w, Tensor importance, float threshold) {
        throw new UnsupportedOperationException("countAbove");
    }

    void apply(Tensor out, Tensor w, Tensor mask) {
        throw new UnsupportedOperationException("apply");
    }
}
