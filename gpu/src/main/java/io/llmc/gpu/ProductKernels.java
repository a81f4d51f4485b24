// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Matrix products.
final class ProductKernels {
    private final Kernels kernels;

    ProductKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "products");
    }

    void matmul(Tensor out, Tensor x, Weight w) {
        throw new UnsupportedOperationException("matmul");
    }

    void matmulInput(Tensor dx, Tensor dout, Weight w) {
        throw new UnsupportedOperationException("matmulInput");
    }

    void outer(Tensor dw, Tensor dout, Tensor x) {
        throw new UnsupportedOperationException("outer");
    }

    void gram(Tensor h, Tensor x, float scale) {
        throw new UnsupportedOperationException("gram");
    }

    void spread(Op.AccumulateObsSpread op) {
        throw new UnsupportedOperationException("spread");
    }
}
