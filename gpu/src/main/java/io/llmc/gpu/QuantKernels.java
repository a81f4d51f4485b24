// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Grids, rounding, packing.
final class QuantKernels {
    private final Kernels kernels;

    QuantKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "quant");
    }

    void chooseGrid(Op.ChooseGrid op) {
        throw new UnsupportedOperationException("chooseGrid");
    }

    void roundToGrid(Op.RoundToGrid op) {
        throw new UnsupportedOperationException("roundToGrid");
    }

    void packCodes(Tensor out, Tensor codes, int bits) {
        throw new UnsupportedOperationException("packCodes");
    }

    void dequantize(Tensor out, Weight w) {
        throw new UnsupportedOperationException("dequantize");
    }
}
