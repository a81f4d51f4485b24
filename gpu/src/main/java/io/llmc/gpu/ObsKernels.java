// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.SmallFloatOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// The column loop of GPTQ and SparseGPT: one launch for a block of columns.
final class ObsKernels {
    /// Columns that a block of threads works on at a time (`PIECE` in obs.cu).
    private static final int PIECE = 128;

    /// Shared costs and flags from row to row (`PITCH`).
    private static final int PITCH = PIECE + 4;

    /// Of a row (`LANES` in obs.cu).
    private static final int LANES = 8;

    private static final int FLOAT = 4;

    private final Kernels kernels;

    ObsKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "obs");
    }

    void block(CompressionOp.AccumulateObsBlock op) {
        CompressionOp.MaskRule.NOfM chosen = op.pruning() == null ? null : op.pruning().chosen();
        long rows = op.w().rows();
        int cols = Math.toIntExact(op.w().cols());
        int n = op.to() - op.from();
        boolean wide = chosen != null && chosen.m() > PIECE;
        List<Object> arguments = new ArrayList<>(List.of(op.errors(), op.w(), op.u()));
        if (op.grid() != null || wide) {
            arguments.addAll(grid(op.grid()));
        }
        String name = "obs_round";
        if (op.pruning() != null || op.grid() == null) {
            arguments.add(op.pruning() == null ? null : op.pruning().mask());
            name = op.grid() == null ? "obs_pruned" : "obs_round_pruned";
        }
        if (chosen != null) {
            arguments.addAll(List.of(chosen.n(), chosen.m()));
            name = op.grid() == null ? "obs_choose" : "obs_round_choose";
        }
        arguments.addAll(List.of(rows, cols, op.from(), n));
        if (wide) {
            int threads = 32;
            kernels.launch(
                    "obs_choose_wide",
                    Grid.blocks(Math.ceilDiv(rows, (long) threads), threads),
                    arguments.toArray());
            return;
        }
        // No group of columns lies in two pieces.
        arguments.add(chosen == null ? PIECE : PIECE / chosen.m() * chosen.m());
        int threads = threads(rows);
        long here = threads / LANES;
        long flags = op.pruning() == null && op.grid() != null ? 0 : here * PITCH;
        long costs = chosen == null ? 0 : here * PITCH * FLOAT;
        kernels.launch(
                name,
                Grid.blocks(Math.ceilDiv(rows, here), threads)
                        .withShared((long) PIECE * PIECE * FLOAT + costs + flags),
                arguments.toArray());
    }

    /// Every block holds the same 64 KiB of U: the more rows it has the better, as long as every
    /// multiprocessor gets a block.
    private static int threads(long rows) {
        return rows >= 4096 ? 256 : rows >= 2048 ? 128 : 64;
    }

    void descend(CompressionOp.AccumulateDescent op) {
        int warps = 4;
        kernels.launch(
                "descend",
                Grid.blocks(Math.ceilDiv(op.r().rows(), (long) warps), 32 * warps),
                op.errors(),
                op.r(),
                op.codes(),
                op.scales(),
                Types.of(op.scales()),
                op.zeros(),
                op.h(),
                Math.toIntExact(op.r().cols()),
                Math.toIntExact(op.scales().cols()),
                op.group(),
                op.from(),
                op.to() - op.from(),
                op.spec().codes().maxCode(),
                op.r().rows());
    }

    private static List<Object> grid(CompressionOp.AccumulateObsBlock.Grid grid) {
        if (grid == null) {
            return Arrays.asList(null, null, 0, null, 0, null, null, 0, 0, 0, 1L);
        }
        Tensor scales = grid.scales();
        boolean ints = grid.spec().codes() instanceof Codes.Ints;
        DType values = ints ? scales.dtype() : SmallFloatOp.valueType(scales, grid.spec());
        return Arrays.asList(
                grid.codes(),
                scales,
                Types.ofScales(scales),
                grid.global(),
                Types.of(values),
                grid.zeros(),
                grid.groupOf(),
                Math.toIntExact(scales.cols()),
                grid.spec().codes() instanceof Codes.Ints i ? i.maxCode() : 0,
                grid.spec().codes().bits(),
                grid.spec().tiles().height(grid.codes().rows()));
    }
}
