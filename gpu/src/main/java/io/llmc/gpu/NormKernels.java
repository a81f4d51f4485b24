// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.GradientOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;

/// Norms, rotary positions, and sums along rows and columns.
final class NormKernels {
    /// Rows of a slice at least, and slices at most, where columns are summed.
    private static final long SLICE = 64;

    private static final long SLICES = 64;
    private static final long COLUMNS = 32;

    private final Gpu gpu;
    private final Kernels kernels;

    NormKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "norms");
    }

    private static Grid rows(Tensor x) {
        return Grid.blocks(x.rows(), Grid.rowThreads(x.cols()));
    }

    void rmsNorm(Tensor out, Tensor x, Tensor weight, float eps, float offset) {
        kernels.launch(
                "rms_norm", rows(x), out, x, weight, Types.of(weight), eps, offset, x.cols());
    }

    void layerNorm(Tensor out, Tensor x, Tensor weight, Tensor bias, float eps) {
        kernels.launch(
                "layer_norm",
                rows(x),
                out,
                x,
                weight,
                Types.of(weight),
                bias,
                Types.of(bias),
                eps,
                x.cols());
    }

    void rope(Tensor out, Tensor x, Tensor cosSin, int headDim, int length, boolean interleaved) {
        rotate("rope", out, x, cosSin, headDim, length, interleaved);
    }

    void ropeGrad(
            Tensor dx, Tensor dout, Tensor cosSin, int headDim, int length, boolean interleaved) {
        rotate("rope_grad", dx, dout, cosSin, headDim, length, interleaved);
    }

    /// One thread a pair, or an element that is not rotated.
    private void rotate(
            String kernel,
            Tensor out,
            Tensor x,
            Tensor cosSin,
            int headDim,
            int length,
            boolean interleaved) {
        int rotated = Math.toIntExact(cosSin.cols());
        long units = x.cols() / headDim * (headDim - rotated / 2);
        int threads = Grid.rowThreads(4 * units);
        kernels.launch(
                kernel,
                Grid.blocks(x.rows(), Math.ceilDiv(units, (long) threads), threads),
                out,
                x,
                cosSin,
                rotated,
                headDim,
                length,
                interleaved ? 1 : 0,
                x.cols());
    }

    void rmsNormGrad(GradientOp.AccumulateRmsNormGrad op) {
        try (Gpu.Scratch inverses = gpu.scratch(4 * op.x().rows())) {
            kernels.launch(
                    "rms_norm_grad",
                    rows(op.x()),
                    op.dx(),
                    op.dweight() == null ? null : inverses,
                    op.dout(),
                    op.x(),
                    op.weight(),
                    Types.of(op.weight()),
                    op.eps(),
                    op.offset(),
                    op.x().cols());
            if (op.dweight() != null) {
                sumColumns(
                        op.dweight(),
                        op.x(),
                        "column_norm_grads",
                        op.dout(),
                        op.x(),
                        null,
                        inverses);
            }
        }
    }

    void layerNormGrad(GradientOp.AccumulateLayerNormGrad op) {
        try (Gpu.Scratch means = gpu.scratch(4 * op.x().rows());
                Gpu.Scratch inverses = gpu.scratch(4 * op.x().rows())) {
            boolean kept = op.dweight() != null;
            kernels.launch(
                    "layer_norm_grad",
                    rows(op.x()),
                    op.dx(),
                    kept ? means : null,
                    kept ? inverses : null,
                    op.dout(),
                    op.x(),
                    op.weight(),
                    Types.of(op.weight()),
                    op.eps(),
                    op.x().cols());
            if (kept) {
                sumColumns(
                        op.dweight(),
                        op.x(),
                        "column_norm_grads",
                        op.dout(),
                        op.x(),
                        means,
                        inverses);
            }
        }
        if (op.dbias() != null) {
            columnSums(op.dbias(), op.dout());
        }
    }

    void columnSums(Tensor sum, Tensor x) {
        sumColumns(sum, x, "column_sums", x);
    }

    void columnNorms(Tensor sum, Tensor x, int power) {
        sumColumns(sum, x, "column_norms", x, Types.of(x), power);
    }

    /// Slices of rows first, then the slices.
    ///
    /// @param arguments of the kernel between its partial sums and the sizes
    private void sumColumns(Tensor sum, Tensor x, String kernel, Object... arguments) {
        long rows = x.rows();
        long cols = x.cols();
        if (rows == 0 || cols == 0) {
            return;
        }
        long slice = Math.ceilDiv(rows, Math.clamp(Math.ceilDiv(rows, SLICE), 1, SLICES));
        long slices = Math.ceilDiv(rows, slice);
        try (Gpu.Scratch partials = gpu.scratch(8 * slices * cols)) {
            Object[] all = new Object[arguments.length + 4];
            all[0] = partials;
            System.arraycopy(arguments, 0, all, 1, arguments.length);
            all[arguments.length + 1] = rows;
            all[arguments.length + 2] = cols;
            all[arguments.length + 3] = slice;
            kernels.launch(kernel, Grid.blocks(Math.ceilDiv(cols, COLUMNS), slices, 256), all);
            kernels.launch(
                    "add_slices",
                    Grid.elements(cols),
                    sum,
                    sum.dtype() == DType.F64 ? 1 : 0,
                    partials,
                    (int) slices,
                    cols);
        }
    }

    void rowSquares(Tensor out, Tensor x) {
        kernels.launch("row_squares", rows(x), out, x, Types.of(x), x.cols());
    }
}
