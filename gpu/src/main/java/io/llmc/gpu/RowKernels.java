// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Moves rows and columns; routes tokens to experts.
final class RowKernels {
    private final Kernels kernels;

    RowKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "rows");
    }

    void embed(Tensor out, Tensor ids, Tensor table, float scale) {
        throw new UnsupportedOperationException("embed");
    }

    void columns(Tensor out, Tensor x, long from) {
        throw new UnsupportedOperationException("columns");
    }

    void gather(Tensor out, Tensor x, Tensor rows) {
        throw new UnsupportedOperationException("gather");
    }

    void accumulateRows(Tensor sum, Tensor x, Tensor rows, Tensor weights, float factor) {
        throw new UnsupportedOperationException("accumulateRows");
    }

    void route(Tensor experts, Tensor weights, Tensor logits, boolean renormalise) {
        throw new UnsupportedOperationException("route");
    }

    void accumulateColumns(Tensor dx, Tensor dout, long from) {
        throw new UnsupportedOperationException("accumulateColumns");
    }

    void rowsGrad(Op.AccumulateRowsGrad op) {
        throw new UnsupportedOperationException("rowsGrad");
    }

    void routeGrad(Op.AccumulateRouteGrad op) {
        throw new UnsupportedOperationException("routeGrad");
    }

    void diagonal(Tensor out, Tensor h) {
        throw new UnsupportedOperationException("diagonal");
    }

    void gatherSymmetric(Tensor out, Tensor h, Tensor order) {
        throw new UnsupportedOperationException("gatherSymmetric");
    }

    void gatherColumns(Tensor out, Tensor x, Tensor order) {
        throw new UnsupportedOperationException("gatherColumns");
    }

    void transpose(Tensor out, Tensor x) {
        throw new UnsupportedOperationException("transpose");
    }
}
