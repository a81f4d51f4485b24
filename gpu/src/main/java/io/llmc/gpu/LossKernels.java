// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.LossOp;
import io.llmc.backend.LossOp.LossWeights;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// Losses of rows of logits and of hidden states, one block a row.
final class LossKernels {
    /// Columns from which on a row has a block of twice as many threads.
    private static final long LONG = 8192;

    /// Keys that are sorted in shared memory: 64 KiB, which every device has for a block.
    private static final int SORTED = 8192;

    private final Gpu gpu;
    private final Kernels kernels;
    private final Kernels tops;

    LossKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "losses");
        tops = new Kernels(gpu, "topk");
    }

    private static Grid rows(Tensor x) {
        return Grid.blocks(x.rows(), x.cols() < LONG ? Grid.rowThreads(x.cols()) : 512);
    }

    void negativeLogLikelihood(Tensor out, Tensor logits, Tensor targets) {
        kernels.launch(
                "negative_log_likelihood", rows(logits), out, logits, targets, logits.cols());
    }

    void divergence(Tensor out, Tensor p, Tensor q) {
        kernels.launch("divergence", rows(p), out, p, q, p.cols());
    }

    void argMax(Tensor out, Tensor x) {
        kernels.launch("arg_max", rows(x), out, x, x.cols());
    }

    void distill(LossOp.DistillLoss op) {
        LossWeights w = op.weights();
        kernels.launch(
                "distill_loss",
                rows(op.student()),
                op.dlogits(),
                op.losses(),
                op.student(),
                w.asksTeacher() ? op.teacher() : null,
                op.targets(),
                op.student().cols(),
                w.kl(),
                w.reverse(),
                w.jsd(),
                w.ce(),
                w.temperature(),
                w.beta(),
                op.scale());
    }

    void distillTop(LossOp.DistillTopLoss op) {
        LossWeights w = op.weights();
        long n = op.student().cols();
        kernels.launch(
                "distill_top_loss",
                rows(op.student()).withShared(4 * Math.ceilDiv(n, 32L)),
                op.dlogits(),
                op.losses(),
                op.student(),
                op.ids(),
                op.teacher(),
                op.targets(),
                n,
                op.ids().cols(),
                op.missing() == LossOp.Missing.ZERO ? 1 : 0,
                w.kl(),
                w.reverse(),
                w.jsd(),
                w.ce(),
                w.temperature(),
                w.beta(),
                op.scale());
    }

    void topLogProbabilities(LossOp.TopLogProbabilities op) {
        Tensor logits = op.logits();
        int k = Math.toIntExact(op.ids().cols());
        int padded = k == 1 ? 1 : Math.toIntExact(2L * Integer.highestOneBit(k - 1));
        if (padded <= SORTED) {
            tops(op, rows(logits).withShared(8L * padded), null, k, padded);
            return;
        }
        try (Gpu.Scratch keys = gpu.scratch(8L * padded * logits.rows())) {
            tops(op, rows(logits), keys, k, padded);
        }
    }

    private void tops(
            LossOp.TopLogProbabilities op, Grid grid, Gpu.Scratch spill, int k, int padded) {
        tops.launch(
                "top_log_probabilities",
                grid,
                op.values(),
                op.ids(),
                op.logits(),
                spill,
                Math.toIntExact(op.logits().cols()),
                k,
                padded,
                op.temperature());
    }

    void hidden(LossOp.AccumulateHiddenLoss op) {
        kernels.launch(
                "hidden_loss",
                rows(op.x()),
                op.dx(),
                op.losses(),
                op.x(),
                op.target(),
                op.distance() == LossOp.Distance.COSINE ? 1 : 0,
                op.scale(),
                op.x().cols());
    }
}
