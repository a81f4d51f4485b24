// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.GradientOp;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// Moves rows and columns.
final class RowKernels {
    private static final int WARP = 32;

    private final Gpu gpu;
    private final Kernels kernels;

    RowKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "rows");
    }

    /// Blocks for parts of rows, where a thread has four elements.
    private static Grid parts(long rows, long cols) {
        int threads = Grid.rowThreads(cols);
        return Grid.blocks(rows, Math.ceilDiv(cols, 4L * threads), threads);
    }

    void embed(Tensor out, Tensor ids, Tensor table, float scale) {
        kernels.launch(
                "embed",
                parts(out.rows(), out.cols()),
                out,
                ids,
                table,
                Types.of(table),
                scale,
                out.cols());
    }

    void columns(Tensor out, Tensor x, long from) {
        long size = out.dtype().bytes();
        copyRows(out, x, null, from * size);
    }

    void putColumns(Tensor out, Tensor x, long from) {
        kernels.launch(
                "put_columns", parts(x.rows(), x.cols()), out, x, out.cols(), from, x.cols());
    }

    void gather(Tensor out, Tensor x, Tensor rows) {
        copyRows(out, x, rows, 0);
    }

    private void copyRows(Tensor out, Tensor x, Tensor rows, long from) {
        long size = out.dtype().bytes();
        long bytes = out.cols() * size;
        long stride = x.cols() * size;
        long offsets = CudaBuffer.address(out) | CudaBuffer.address(x) | bytes | stride | from;
        long unit = Long.lowestOneBit(offsets | 16);
        kernels.launch(
                "copy_rows",
                parts(out.rows(), bytes / unit),
                out,
                x,
                rows,
                bytes,
                stride,
                from,
                (int) unit);
    }

    void accumulateRows(Tensor sum, Tensor x, Tensor rows, Tensor weights, float factor) {
        long n = x.rows();
        if (n == 0) {
            return;
        }
        try (Gpu.Scratch previous = gpu.scratch(4 * n);
                Gpu.Scratch next = gpu.scratch(4 * n)) {
            gpu.zero(next.pointer(), 4 * n);
            int warps = 8;
            kernels.launch(
                    "link_rows",
                    Grid.blocks(Math.ceilDiv(n, (long) warps), WARP * warps),
                    previous,
                    next,
                    rows,
                    n);
            kernels.launch(
                    "accumulate_rows",
                    parts(n, x.cols()),
                    sum,
                    x,
                    rows,
                    weights,
                    factor,
                    previous,
                    next,
                    x.cols());
        }
    }

    void accumulateColumns(Tensor dx, Tensor dout, long from) {
        kernels.launch(
                "accumulate_columns",
                parts(dout.rows(), dout.cols()),
                dx,
                dout,
                dx.cols(),
                from,
                dout.cols());
    }

    void rowsGrad(GradientOp.AccumulateRowsGrad op) {
        long cols = op.x().cols();
        kernels.launch(
                "rows_grad",
                Grid.blocks(op.x().rows(), Grid.rowThreads(cols)),
                op.dx(),
                op.dweights(),
                op.dsum(),
                op.x(),
                op.rows(),
                op.weights(),
                op.factor(),
                cols);
    }

    void diagonal(Tensor out, Tensor h) {
        kernels.launch("diagonal", Grid.elements(h.rows()), out, h, h.rows());
    }

    void shrinkCorrelations(Tensor out, Tensor h, float factor) {
        long n = h.rows();
        kernels.launch("shrink_correlations", Grid.elements(n * n), out, h, factor, n, n * n);
    }

    void gatherSymmetric(Tensor out, Tensor h, Tensor order) {
        gatherColumns(out, h, order, order);
    }

    void gatherColumns(Tensor out, Tensor x, Tensor order) {
        gatherColumns(out, x, null, order);
    }

    private void gatherColumns(Tensor out, Tensor x, Tensor rows, Tensor order) {
        kernels.launch(
                "gather_columns",
                parts(out.rows(), out.cols()),
                out,
                x,
                rows,
                order,
                out.cols(),
                x.cols(),
                out.dtype().bytes());
    }

    void transpose(Tensor out, Tensor x) {
        long tiles = Math.ceilDiv(x.rows(), 32L) * Math.ceilDiv(x.cols(), 32L);
        kernels.launch("transpose", Grid.blocks(tiles, 256), out, x, x.rows(), x.cols());
    }
}
