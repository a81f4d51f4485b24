// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;

/// The column loop of GPTQ and SparseGPT.
final class ObsKernels {
    private final Kernels kernels;

    ObsKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "obs");
    }

    void block(Op.AccumulateObsBlock op) {
        throw new UnsupportedOperationException("block");
    }
}
