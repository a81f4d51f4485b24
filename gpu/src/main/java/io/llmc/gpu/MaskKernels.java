// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.CompressionOp.MaskRule;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/// Chooses which weights are pruned.
final class MaskKernels {
    /// Columns that a block takes at a time where all rows compete (`TILE` in masks.cu).
    private static final int TILE = 4096;

    /// The same where neighbours compete (`SHARED_TILE`).
    private static final int SHARED_TILE = 2048;

    private static final int DIGITS = 256;
    private static final int THREADS = 256;

    /// Enough to fill the largest device; the rest goes in strides.
    private static final int BLOCKS = 2048;

    /// Scores of a row in shared memory, which with the counts are below 48 KiB.
    private static final int KEPT = 9216;

    private static final int COUNT_BYTES = DIGITS * Long.BYTES;

    /// Bytes of a `Threshold`, and more so that what follows is aligned.
    private static final int THRESHOLD_BYTES = 256;

    private final Gpu gpu;
    private final Kernels kernels;

    MaskKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "masks");
    }

    void choose(CompressionOp.ChooseMask op) {
        Tensor w = op.w();
        int cols = Math.toIntExact(w.cols());
        int n = op.to() - op.from();
        switch (op.rule()) {
            case MaskRule.EachRow(int zeros) -> {
                int kept = Math.min(KEPT, Math.ceilDiv(n, 4) * 4);
                int threads = n > TILE / 2 ? 2 * THREADS : Grid.rowThreads(n);
                kernels.launch(
                        "mask_each_row",
                        Grid.blocks(w.rows(), threads).withShared((long) kept * Integer.BYTES),
                        op.mask(),
                        w,
                        Types.of(w),
                        op.importance(),
                        cols,
                        op.from(),
                        n,
                        zeros,
                        kept);
            }
            case MaskRule.Together(long zeros) -> together(op, zeros);
            case MaskRule.Zeros() ->
                    kernels.launch(
                            "mask_zeros",
                            Grid.blocks(w.rows(), Grid.rowThreads(n)),
                            op.mask(),
                            w,
                            Types.of(w),
                            cols,
                            op.from(),
                            n);
            case MaskRule.NOfM(int stay, int m) -> {
                int tile = m > SHARED_TILE ? m : SHARED_TILE / m * m;
                int tiles = Math.ceilDiv(n, tile);
                long units = w.rows() * tiles;
                kernels.launch(
                        "mask_n_of_m",
                        Grid.blocks(Math.min(units, 1 << 16), Grid.rowThreads(Math.min(n, tile))),
                        op.mask(),
                        w,
                        Types.of(w),
                        op.importance(),
                        cols,
                        op.from(),
                        n,
                        units,
                        tiles,
                        tile,
                        stay,
                        m);
            }
        }
    }

    /// Four passes over the weights for the threshold, each with counts of its own; one more where
    /// only some of the weights that equal it are pruned; then the mask.
    private void together(CompressionOp.ChooseMask op, long zeros) {
        Tensor w = op.w();
        int n = op.to() - op.from();
        int tiles = Math.ceilDiv(n, TILE);
        long units = w.rows() * tiles;
        if (units == 0) {
            return;
        }
        Grid grid = Grid.blocks(Math.min(units, BLOCKS), Grid.rowThreads(Math.min(n, TILE)));
        List<Object> scores = new ArrayList<>(List.of(w, Types.of(w)));
        scores.add(op.importance());
        scores.addAll(List.of(Math.toIntExact(w.cols()), op.from(), n, units, tiles));
        try (Gpu.Scratch threshold = gpu.scratch(THRESHOLD_BYTES + 4L * COUNT_BYTES);
                Gpu.Scratch ties = gpu.scratch(units * Long.BYTES)) {
            gpu.zero(threshold.pointer(), THRESHOLD_BYTES + 4L * COUNT_BYTES);
            for (int pass = 0; pass < 4; pass++) {
                int shift = 24 - 8 * pass;
                long counts = threshold.address() + THRESHOLD_BYTES + (long) pass * COUNT_BYTES;
                launch("mask_count", grid, scores, counts, threshold, shift);
                kernels.launch("mask_pick", Grid.blocks(1, 32), threshold, counts, shift, zeros);
            }
            launch("mask_ties", grid, scores, ties, threshold);
            kernels.launch("mask_ties_before", Grid.blocks(1, 1024), ties, threshold, units);
            launch("mask_together", grid, scores, op.mask(), ties, threshold);
        }
    }

    private void launch(String name, Grid grid, List<Object> scores, Object... first) {
        List<Object> arguments = new ArrayList<>();
        Collections.addAll(arguments, first);
        arguments.addAll(scores);
        kernels.launch(name, grid, arguments.toArray());
    }

    void countAbove(Tensor out, Tensor w, Tensor importance, float threshold) {
        kernels.launch(
                "count_above",
                Grid.blocks(w.rows(), Grid.rowThreads(w.cols())),
                out,
                w,
                Types.of(w),
                importance,
                threshold,
                Math.toIntExact(w.cols()));
    }

    void apply(Tensor out, Tensor w, Tensor mask) {
        boolean whole = w.dtype() == DType.F32;
        long n = w.shape().size();
        kernels.launch(
                whole ? "apply_mask_32" : "apply_mask_16",
                Grid.elements(Math.ceilDiv(n, whole ? 4L : 8L)),
                out,
                w,
                mask,
                n);
    }
}
