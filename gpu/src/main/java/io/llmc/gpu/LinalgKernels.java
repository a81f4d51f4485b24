// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.tensor.Tensor;

/// Cholesky factors and quadratic forms.
final class LinalgKernels {
    private final Kernels kernels;

    LinalgKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "linalg");
    }

    void choleskyInverse(Tensor u, Tensor status, Tensor h, float damp) {
        throw new UnsupportedOperationException("choleskyInverse");
    }

    void quadraticForm(Tensor out, Tensor e, Tensor h) {
        throw new UnsupportedOperationException("quadraticForm");
    }
}
