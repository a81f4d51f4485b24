// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.LossOp;
import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// The gradient of attention, and the loss between two attentions.
///
/// Each query's maximum and logarithm of the sum come first, into scratch; then blocks that have
/// queries, then blocks that have keys.
final class AttentionGradKernels {
    /// Of kernels with a warp for a row.
    private static final int ROW_THREADS = 256;

    /// Rows that a block of attention_grad.cu reads at a time.
    private static final int WALK = 32;

    /// Enough to fill the largest device a few times.
    private static final long BLOCKS = 1024;

    /// Of a query's maximum and logarithm.
    private static final long STATS_BYTES = 8;

    private final Gpu gpu;
    private final Kernels kernels;
    private final Kernels wide;
    private final Kernels losses;

    AttentionGradKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "attention_grad");
        wide = new Kernels(gpu, "attention_grad_wide");
        losses = new Kernels(gpu, "attention_loss");
    }

    void gradient(GradientOp.AccumulateAttentionGrad op) {
        ForwardOp.AttentionSpec spec = op.spec();
        if (op.q().rows() == 0) {
            return;
        }
        if (spec.headDim() > AttentionKernels.MAX_HALVES) {
            wide(op);
            return;
        }
        // Few sequences at a time: the halves of all their operands are in scratch.
        int sequences = AttentionKernels.sequences(op.q(), spec);
        long blocks = Math.ceilDiv(spec.length(), AttentionKernels.TILE) * (long) spec.heads();
        int step = (int) Math.clamp(Math.ceilDiv(BLOCKS, blocks), 1, sequences);
        for (int first = 0; first < sequences; first += step) {
            halves(op, first, Math.min(step, sequences - first));
        }
    }

    private void halves(GradientOp.AccumulateAttentionGrad op, int first, int sequences) {
        ForwardOp.AttentionSpec spec = op.spec();
        int columns = AttentionKernels.columns(spec.headDim());
        int padded = AttentionKernels.padded(spec.length());
        // Kernels count rows in an int; keys are no more.
        long queries = Math.toIntExact((long) sequences * spec.heads() * padded);
        long keys = (long) sequences * spec.kvHeads() * padded;
        try (Gpu.Scratch queryHalves = gpu.scratch(AttentionKernels.halvesBytes(queries, columns));
                Gpu.Scratch queryFactors = gpu.scratch(2 * 4 * queries);
                Gpu.Scratch keyHalves = gpu.scratch(AttentionKernels.halvesBytes(keys, columns));
                Gpu.Scratch keyFactors = gpu.scratch(2 * 4 * keys);
                Gpu.Scratch stats = gpu.scratch(STATS_BYTES * queries);
                Gpu.Scratch delta = gpu.scratch(4 * queries)) {
            split(queryHalves, queryFactors, op.q(), op.dout(), spec, spec.heads(), first, queries);
            split(keyHalves, keyFactors, op.k(), op.v(), spec, spec.kvHeads(), first, keys);
            kernels.launch(
                    "attention_grad_delta",
                    Grid.blocks(rowBlocks(queries), ROW_THREADS),
                    delta,
                    op.dout(),
                    op.out(),
                    first,
                    sequences,
                    spec.length(),
                    padded,
                    spec.heads(),
                    spec.headDim());
            long tiles = (long) sequences * Math.ceilDiv(spec.length(), AttentionKernels.TILE);
            kernels.launch(
                    "attention_grad_stats_" + columns,
                    Grid.blocks(tiles * spec.heads(), AttentionKernels.HALVES_THREADS),
                    stats,
                    queryHalves,
                    queryFactors,
                    keyHalves,
                    keyFactors,
                    sequences,
                    spec.length(),
                    padded,
                    spec.heads(),
                    spec.kvHeads(),
                    spec.scale(),
                    spec.window(),
                    spec.softcap());
            var operands =
                    new Operands(queryHalves, queryFactors, keyHalves, keyFactors, stats, delta);
            long walked = 2 * tileBytes(WALK, columns);
            long withLeft = walked + tileBytes(AttentionKernels.TILE, columns);
            gradient("dq", op.dq(), 1, first, operands, op, sequences, withLeft);
            int group = spec.heads() / spec.kvHeads();
            if (group == 1) {
                gradient("dk", op.dk(), 1, first, operands, op, sequences, withLeft);
                gradient("dv", op.dv(), 1, first, operands, op, sequences, walked);
                return;
            }
            long rows = (long) sequences * spec.length();
            try (Gpu.Scratch parts = gpu.scratch(4 * rows * op.q().cols())) {
                gradient("dk", parts, 0, 0, operands, op, sequences, withLeft);
                group(op.dk(), parts, spec, first, rows);
                gradient("dv", parts, 0, 0, operands, op, sequences, walked);
                group(op.dv(), parts, spec, first, rows);
            }
        }
    }

    /// What all three kernels read.
    private record Operands(
            Gpu.Scratch queryHalves,
            Gpu.Scratch queryFactors,
            Gpu.Scratch keyHalves,
            Gpu.Scratch keyFactors,
            Gpu.Scratch stats,
            Gpu.Scratch delta) {}

    /// @param sum as many columns as q
    /// @param add 1 where it holds something already
    /// @param first sequence of it
    private void gradient(
            String name,
            Object sum,
            int add,
            int first,
            Operands x,
            GradientOp.AccumulateAttentionGrad op,
            int sequences,
            long shared) {
        ForwardOp.AttentionSpec spec = op.spec();
        long tiles = (long) sequences * Math.ceilDiv(spec.length(), AttentionKernels.TILE);
        kernels.launch(
                "attention_grad_" + name + "_" + AttentionKernels.columns(spec.headDim()),
                Grid.blocks(tiles * spec.heads(), AttentionKernels.HALVES_THREADS)
                        .withShared(shared),
                sum,
                add,
                x.queryHalves,
                x.queryFactors,
                x.keyHalves,
                x.keyFactors,
                x.stats,
                x.delta,
                first,
                spec.headDim(),
                sequences,
                spec.length(),
                AttentionKernels.padded(spec.length()),
                spec.heads(),
                spec.kvHeads(),
                spec.scale(),
                spec.window(),
                spec.softcap());
    }

    /// Adds the parts of the heads that share keys.
    private void group(
            Tensor sum, Gpu.Scratch parts, ForwardOp.AttentionSpec spec, int first, long rows) {
        long n = rows * sum.cols();
        kernels.launch(
                "attention_grad_group",
                Grid.elements(n),
                sum,
                parts,
                spec.heads() / spec.kvHeads(),
                spec.headDim(),
                first * (long) spec.length() * sum.cols(),
                n);
    }

    /// `HalfTile` in attention_halves.cuh.
    private static long tileBytes(int rows, int columns) {
        return rows * (2L * 2 * (columns + 8) + 4);
    }

    private static long rowBlocks(long rows) {
        return Math.ceilDiv(rows * 32, ROW_THREADS);
    }

    private void split(
            Gpu.Scratch halves,
            Gpu.Scratch factors,
            Tensor a,
            Tensor b,
            ForwardOp.AttentionSpec spec,
            int heads,
            int first,
            long rows) {
        int padded = AttentionKernels.padded(spec.length());
        kernels.launch(
                "attention_grad_split",
                Grid.blocks(rowBlocks(rows), 2, ROW_THREADS),
                halves,
                factors,
                a,
                b,
                first,
                Math.toIntExact(rows / heads / padded),
                spec.length(),
                padded,
                heads,
                spec.headDim(),
                AttentionKernels.columns(spec.headDim()));
    }

    private void wide(GradientOp.AccumulateAttentionGrad op) {
        ForwardOp.AttentionSpec spec = op.spec();
        long n = op.q().rows() * spec.heads();
        int chunks = AttentionKernels.WIDE_CHUNKS;
        int sequences = AttentionKernels.sequences(op.q(), spec);
        try (Gpu.Scratch stats = gpu.scratch(STATS_BYTES * n);
                Gpu.Scratch delta = gpu.scratch(4 * n)) {
            stats(wide, "attention_stats", stats, op.q(), op.k(), spec);
            wide.launch(
                    "attention_delta",
                    Grid.blocks(rowBlocks(n), ROW_THREADS),
                    delta,
                    op.dout(),
                    op.out(),
                    spec.headDim(),
                    n);
            wide.launch(
                    "attention_dq",
                    AttentionKernels.tiles(op.q(), spec, spec.heads(), chunks),
                    op.dq(),
                    op.dout(),
                    op.q(),
                    op.k(),
                    op.v(),
                    stats,
                    delta,
                    sequences,
                    spec.length(),
                    spec.heads(),
                    spec.kvHeads(),
                    spec.headDim(),
                    spec.scale(),
                    spec.window(),
                    spec.softcap());
            wide.launch(
                    "attention_dkv",
                    AttentionKernels.tiles(op.q(), spec, spec.kvHeads(), chunks),
                    op.dk(),
                    op.dv(),
                    op.dout(),
                    op.q(),
                    op.k(),
                    op.v(),
                    stats,
                    delta,
                    sequences,
                    spec.length(),
                    spec.heads(),
                    spec.kvHeads(),
                    spec.headDim(),
                    spec.scale(),
                    spec.window(),
                    spec.softcap());
        }
    }

    private static void stats(
            Kernels kernels,
            String name,
            Gpu.Scratch stats,
            Tensor q,
            Tensor k,
            ForwardOp.AttentionSpec spec) {
        kernels.launch(
                name,
                AttentionKernels.tiles(q, spec, spec.heads()),
                stats,
                q,
                k,
                AttentionKernels.sequences(q, spec),
                spec.length(),
                spec.heads(),
                spec.kvHeads(),
                spec.headDim(),
                spec.scale(),
                spec.window(),
                spec.softcap());
    }

    void loss(LossOp.AccumulateAttentionLoss op) {
        LossOp.Scores student = op.student();
        LossOp.Scores teacher = op.teacher();
        ForwardOp.AttentionSpec spec = student.spec();
        long n = student.q().rows() * spec.heads();
        if (n == 0) {
            return;
        }
        try (Gpu.Scratch own = gpu.scratch(STATS_BYTES * n);
                Gpu.Scratch theirs = gpu.scratch(STATS_BYTES * n)) {
            String stats = "attention_score_stats";
            stats(losses, stats, own, student.q(), student.k(), spec);
            stats(losses, stats, theirs, teacher.q(), teacher.k(), teacher.spec());
            int chunks = chunks(spec.headDim());
            // Without a gradient there is nothing to keep columns of.
            Grid queries =
                    op.dq() == null
                            ? AttentionKernels.tiles(student.q(), spec, spec.heads())
                            : AttentionKernels.tiles(student.q(), spec, spec.heads(), chunks);
            losses.launch(
                    "attention_loss_dq_" + (op.dq() == null ? 1 : chunks),
                    queries,
                    arguments(op, own, theirs, op.dq(), op.losses()));
            if (op.dk() != null) {
                losses.launch(
                        "attention_loss_dk_" + chunks,
                        AttentionKernels.tiles(student.q(), spec, spec.kvHeads(), chunks),
                        arguments(op, own, theirs, op.dk()));
            }
        }
    }

    /// How many 64 columns of its output a block keeps in registers.
    private static int chunks(int headDim) {
        int needed = Math.ceilDiv(headDim, AttentionKernels.TILE);
        return needed <= 2 ? needed : AttentionKernels.WIDE_CHUNKS;
    }

    /// Those of both kernels after what they write.
    private static Object[] arguments(
            LossOp.AccumulateAttentionLoss op,
            Gpu.Scratch own,
            Gpu.Scratch theirs,
            Object... written) {
        ForwardOp.AttentionSpec student = op.student().spec();
        ForwardOp.AttentionSpec teacher = op.teacher().spec();
        Object[] read = {
            op.student().q(),
            op.student().k(),
            own,
            student.kvHeads(),
            student.headDim(),
            student.scale(),
            student.softcap(),
            op.teacher().q(),
            op.teacher().k(),
            theirs,
            teacher.kvHeads(),
            teacher.headDim(),
            teacher.scale(),
            teacher.softcap(),
            AttentionKernels.sequences(op.student().q(), student),
            student.length(),
            student.heads(),
            student.window(),
            op.scale()
        };
        Object[] all = Arrays.copyOf(written, written.length + read.length);
        System.arraycopy(read, 0, all, written.length, read.length);
        return all;
    }
}
