// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// Causal convolutions of each channel by itself.
final class ConvolutionKernels {
    private final Kernels kernels;

    ConvolutionKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "convolutions");
    }

    /// Blocks for parts of rows, where a thread has four elements.
    private static Grid parts(long rows, long cols) {
        int threads = Grid.rowThreads(cols);
        return Grid.blocks(rows, Math.ceilDiv(cols, 4L * threads), threads);
    }

    void convolve(ForwardOp.Convolve op) {
        convolve(op, op.out(), op.x(), null, op.length());
    }

    void resume(RecurrentOp.ResumeConvolve op) {
        ForwardOp.Convolve all = op.op();
        for (RecurrentOp.Run run : op.runs()) {
            int end = run.row() + run.length();
            Tensor x = all.x().rows(run.row(), end);
            convolve(all, all.out().rows(run.row(), end), x, run.begin(), run.length());
            if (run.end() != null) {
                kernels.launch(
                        "keep_rows",
                        Grid.elements(Math.ceilDiv(x.cols(), 4L)),
                        run.end(),
                        run.begin(),
                        x,
                        all.taps() - 1,
                        (long) run.length(),
                        x.cols());
            }
        }
    }

    private void convolve(ForwardOp.Convolve op, Tensor out, Tensor x, Tensor state, long length) {
        kernels.launch(
                "convolve",
                parts(x.rows(), x.cols()),
                out,
                x,
                op.weight(),
                Types.of(op.weight()),
                op.bias(),
                Types.of(op.bias()),
                state,
                op.taps(),
                length,
                x.cols());
    }

    void gradient(GradientOp.AccumulateConvolveGrad op) {
        long rows = op.x().rows();
        long cols = op.x().cols();
        int taps = Math.toIntExact(op.weight().cols());
        if (op.dx() != null) {
            kernels.launch(
                    "convolve_grad",
                    parts(rows, cols),
                    op.dx(),
                    op.dout(),
                    op.weight(),
                    Types.of(op.weight()),
                    taps,
                    (long) op.length(),
                    cols);
        }
        if (op.dweight() != null) {
            kernels.launch(
                    "convolve_weight_grad",
                    Grid.blocks(Math.ceilDiv(cols, 32L), taps, 256),
                    op.dweight(),
                    op.dout(),
                    op.x(),
                    taps,
                    (long) op.length(),
                    rows,
                    cols);
        }
    }
}
