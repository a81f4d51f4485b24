// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Norms, rotary positions, and sums along rows and columns.
final class NormKernels {
    private final Kernels kernels;

    NormKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "norms");
    }

    void rmsNorm(Tensor out, Tensor x, Tensor weight, float eps, float offset) {
        throw new UnsupportedOperationException("rmsNorm");
    }

    void layerNorm(Tensor out, Tensor x, Tensor weight, Tensor bias, float eps) {
        throw new UnsupportedOperationException("layerNorm");
    }

    void rope(Tensor out, Tensor x, Tensor cosSin, int headDim, int length, boolean interleaved) {
        throw new UnsupportedOperationException("rope");
    }

    void rmsNormGrad(Op.AccumulateRmsNormGrad op) {
        throw new UnsupportedOperationException("rmsNormGrad");
    }

    void layerNormGrad(Op.AccumulateLayerNormGrad op) {
        throw new UnsupportedOperationException("layerNormGrad");
    }

    void ropeGrad(
            Tensor dx, Tensor dout, Tensor cosSin, int headDim, int length, boolean interleaved) {
        throw new UnsupportedOperationException("ropeGrad");
    }

    void columnSums(Tensor sum, Tensor x) {
        throw new UnsupportedOperationException("columnSums");
    }

    void columnNorms(Tensor sum, Tensor x, int power) {
        throw new UnsupportedOperationException("columnNorms");
    }

    void rowSquares(Tensor out, Tensor x) {
        throw new UnsupportedOperationException("rowSquares");
    }
}
