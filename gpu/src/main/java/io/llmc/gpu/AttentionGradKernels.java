// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.LossOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

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

    private static final float LOG2_E = 1.4426950408889634f;

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
        ForwardOp.Attention forward = op.forward();
        AttentionSpec spec = forward.spec();
        if (forward.q().rows() == 0) {
            return;
        }
        if (!AttentionKernels.halves(spec.heads())) {
            wide(op);
            return;
        }
        // Few sequences at a time: the halves of all their operands are in scratch.
        int sequences = AttentionKernels.sequences(forward);
        long blocks = AttentionKernels.queryTiles(spec, 1, 1).x();
        int step = (int) Math.clamp(Math.ceilDiv(BLOCKS, blocks), 1, sequences);
        for (int first = 0; first < sequences; first += step) {
            halves(op, first, Math.min(step, sequences - first));
        }
    }

    private void halves(GradientOp.AccumulateAttentionGrad op, int first, int sequences) {
        ForwardOp.Attention forward = op.forward();
        AttentionSpec spec = forward.spec();
        AttentionSpec.Heads heads = spec.heads();
        int length = spec.reach().length();
        int columns = AttentionKernels.columns(heads);
        int queryRows = AttentionKernels.padded(length);
        int keyRows = AttentionKernels.padded(spec.reach().keys());
        // Kernels count rows in an int.
        long queries = Math.toIntExact((long) sequences * heads.count() * queryRows);
        long keys = Math.toIntExact((long) sequences * heads.kv() * keyRows);
        try (Gpu.Scratch queryHalves = gpu.scratch(AttentionKernels.halvesBytes(queries, columns));
                Gpu.Scratch queryFactors = gpu.scratch(2 * 4 * queries);
                Gpu.Scratch keyHalves = gpu.scratch(AttentionKernels.halvesBytes(keys, columns));
                Gpu.Scratch keyFactors = gpu.scratch(2 * 4 * keys);
                Gpu.Scratch stats = gpu.scratch(STATS_BYTES * queries);
                Gpu.Scratch delta = gpu.scratch(4 * queries)) {
            var q = new Halves(queryHalves, queryFactors, heads.count(), length, queryRows);
            var k = new Halves(keyHalves, keyFactors, heads.kv(), spec.reach().keys(), keyRows);
            split(q, forward.q(), op.dout(), heads, first, sequences);
            split(k, forward.k(), forward.v(), heads, first, sequences);
            kernels.launch(
                    "attention_grad_delta",
                    Grid.blocks(rowBlocks(queries), ROW_THREADS),
                    delta,
                    op.dout(),
                    forward.out(),
                    first,
                    sequences,
                    length,
                    queryRows,
                    heads.count(),
                    heads.valueDim());
            Object[] sides = {
                queryHalves,
                queryFactors,
                queryRows,
                keyHalves,
                keyFactors,
                keyRows,
                sequences,
                heads.count(),
                heads.kv()
            };
            Object[] scoring = AttentionKernels.scoring(spec, forward.slopes());
            kernels.launch(
                    "attention_grad_stats_" + columns,
                    AttentionKernels.queryTiles(spec, sequences, AttentionKernels.HALVES_THREADS),
                    AttentionKernels.flat(stats, forward.sinks(), sides, scoring));
            if (op.dsinks() != null) {
                long head = queryRows;
                sinks(op, stats, delta, sequences, 1, head, head * heads.count(), LOG2_E);
            }
            gradients(op, first, sequences, AttentionKernels.flat(sides, scoring), stats, delta);
        }
    }

    /// Of the three kernels, those that have queries first.
    private void gradients(
            GradientOp.AccumulateAttentionGrad op,
            int first,
            int sequences,
            Object[] read,
            Gpu.Scratch stats,
            Gpu.Scratch delta) {
        AttentionSpec spec = op.forward().spec();
        AttentionSpec.Heads heads = spec.heads();
        int columns = AttentionKernels.columns(heads);
        int threads = AttentionKernels.HALVES_THREADS;
        Grid ofQueries = AttentionKernels.queryTiles(spec, sequences, threads);
        Grid ofKeys = AttentionKernels.keyTiles(spec, heads.count(), sequences, threads);
        long walked = 2 * tileBytes(WALK, columns);
        long withLeft = walked + tileBytes(AttentionKernels.TILE, columns);
        String dq = "attention_grad_dq_" + columns;
        String dk = "attention_grad_dk_" + columns;
        String dv = "attention_grad_dv_" + columns;
        int dim = heads.dim();
        int valueDim = heads.valueDim();
        gradient(dq, ofQueries.withShared(withLeft), op.dq(), 1, stats, delta, first, dim, read);
        if (heads.group() == 1) {
            gradient(dk, ofKeys.withShared(withLeft), op.dk(), 1, stats, delta, first, dim, read);
            gradient(
                    dv, ofKeys.withShared(walked), op.dv(), 1, stats, delta, first, valueDim, read);
            return;
        }
        long rows = (long) sequences * spec.reach().keys();
        long widest = Math.max(heads.queryWidth(), heads.outWidth());
        try (Gpu.Scratch parts = gpu.scratch(4 * rows * widest)) {
            gradient(dk, ofKeys.withShared(withLeft), parts, 0, stats, delta, 0, dim, read);
            group(op.dk(), parts, spec, first, rows);
            gradient(dv, ofKeys.withShared(walked), parts, 0, stats, delta, 0, valueDim, read);
            group(op.dv(), parts, spec, first, rows);
        }
    }

    /// @param sum `[rows, heads * dim]`, of sequences from `first` on
    /// @param add 1 where it holds something already
    private void gradient(
            String kernel,
            Grid grid,
            Object sum,
            int add,
            Gpu.Scratch stats,
            Gpu.Scratch delta,
            int first,
            int dim,
            Object[] read) {
        kernels.launch(
                kernel, grid, AttentionKernels.flat(sum, add, stats, delta, first, dim, read));
    }

    /// Adds the parts of the heads that share keys.
    private void group(Tensor sum, Gpu.Scratch parts, AttentionSpec spec, int first, long rows) {
        long n = rows * sum.cols();
        kernels.launch(
                "attention_grad_group",
                Grid.elements(n),
                sum,
                parts,
                spec.heads().group(),
                Math.toIntExact(sum.cols() / spec.heads().kv()),
                first * (long) spec.reach().keys() * sum.cols(),
                n);
    }

    /// @param row between two rows of stats, as are `head` and `sequence`
    /// @param unit of the stats' logarithms
    private void sinks(
            GradientOp.AccumulateAttentionGrad op,
            Gpu.Scratch stats,
            Gpu.Scratch delta,
            int sequences,
            long row,
            long head,
            long sequence,
            float unit) {
        kernels.launch(
                "attention_grad_sinks",
                Grid.blocks(op.dsinks().shape().size(), ROW_THREADS),
                op.dsinks(),
                op.forward().sinks(),
                stats,
                delta,
                sequences,
                op.forward().spec().reach().length(),
                row,
                head,
                sequence,
                unit);
    }

    /// `HalfTile` in attention_halves.cuh.
    private static long tileBytes(int rows, int columns) {
        return rows * (2L * 2 * (columns + 8) + 4);
    }

    private static long rowBlocks(long rows) {
        return Math.ceilDiv(rows * 32, ROW_THREADS);
    }

    /// Where two operands with the same heads go.
    ///
    /// @param length rows of a sequence, `padded` with zeros
    private record Halves(
            Gpu.Scratch halves, Gpu.Scratch factors, int heads, int length, int padded) {}

    /// @param a as wide as keys
    /// @param b as wide as values
    private void split(
            Halves to, Tensor a, Tensor b, AttentionSpec.Heads heads, int first, int sequences) {
        kernels.launch(
                "attention_grad_split",
                Grid.blocks(rowBlocks((long) sequences * to.heads * to.padded), 2, ROW_THREADS),
                to.halves,
                to.factors,
                a,
                b,
                first,
                sequences,
                to.length,
                to.padded,
                to.heads,
                heads.dim(),
                heads.valueDim(),
                AttentionKernels.columns(heads));
    }

    private void wide(GradientOp.AccumulateAttentionGrad op) {
        ForwardOp.Attention forward = op.forward();
        AttentionSpec spec = forward.spec();
        AttentionSpec.Heads heads = spec.heads();
        long n = forward.q().rows() * heads.count();
        int sequences = AttentionKernels.sequences(forward);
        int threads = AttentionKernels.THREADS;
        try (Gpu.Scratch stats = gpu.scratch(STATS_BYTES * n);
                Gpu.Scratch delta = gpu.scratch(4 * n)) {
            var scores =
                    new LossOp.Scores(forward.q(), forward.k(), forward.slopes(), forward.spec());
            stats(wide, "attention_stats", stats, scores, forward.sinks());
            wide.launch(
                    "attention_delta",
                    Grid.blocks(rowBlocks(n), ROW_THREADS),
                    delta,
                    op.dout(),
                    forward.out(),
                    heads.valueDim(),
                    n);
            Object[] read =
                    AttentionKernels.flat(
                            op.dout(),
                            forward.q(),
                            forward.k(),
                            forward.v(),
                            stats,
                            delta,
                            sequences,
                            heads.count(),
                            heads.kv(),
                            heads.dim(),
                            heads.valueDim(),
                            AttentionKernels.scoring(spec, forward.slopes()));
            int chunks = AttentionKernels.WIDE_CHUNKS;
            wide.launch(
                    "attention_dq",
                    AttentionKernels.queryTiles(spec, sequences, threads)
                            .sideBySide(AttentionKernels.chunks(heads.dim(), chunks)),
                    AttentionKernels.flat(op.dq(), read));
            int wider = Math.max(heads.dim(), heads.valueDim());
            wide.launch(
                    "attention_dkv",
                    AttentionKernels.keyTiles(spec, heads.kv(), sequences, threads)
                            .sideBySide(AttentionKernels.chunks(wider, chunks)),
                    AttentionKernels.flat(op.dk(), op.dv(), read));
            if (op.dsinks() != null) {
                long row = heads.count();
                sinks(op, stats, delta, sequences, row, 1, row * spec.reach().length(), 1);
            }
        }
    }

    /// @param sinks null for none
    private static void stats(
            Kernels kernels, String name, Gpu.Scratch stats, LossOp.Scores x, Tensor sinks) {
        AttentionSpec.Heads heads = x.spec().heads();
        int sequences = sequences(x);
        kernels.launch(
                name,
                AttentionKernels.queryTiles(x.spec(), sequences, AttentionKernels.THREADS),
                AttentionKernels.flat(
                        stats,
                        x.q(),
                        x.k(),
                        sinks,
                        sequences,
                        heads.count(),
                        heads.kv(),
                        heads.dim(),
                        AttentionKernels.scoring(x.spec(), x.slopes())));
    }

    private static int sequences(LossOp.Scores x) {
        return Math.toIntExact(x.q().rows() / x.spec().reach().length());
    }

    void loss(LossOp.AccumulateAttentionLoss op) {
        LossOp.Scores student = op.student();
        AttentionSpec spec = student.spec();
        long n = student.q().rows() * spec.heads().count();
        if (n == 0) {
            return;
        }
        int threads = AttentionKernels.THREADS;
        int sequences = sequences(student);
        try (Gpu.Scratch own = gpu.scratch(STATS_BYTES * n);
                Gpu.Scratch theirs = gpu.scratch(STATS_BYTES * n)) {
            stats(losses, "attention_score_stats", own, student, null);
            stats(losses, "attention_score_stats", theirs, op.teacher(), null);
            Object[] read = sides(op, own, theirs);
            int chunks = chunks(spec.heads().dim());
            // Without a gradient there is nothing to keep columns of.
            Grid queries = AttentionKernels.queryTiles(spec, sequences, threads);
            int parts = AttentionKernels.chunks(spec.heads().dim(), chunks);
            losses.launch(
                    "attention_loss_dq_" + (op.dq() == null ? 1 : chunks),
                    op.dq() == null ? queries : queries.sideBySide(parts),
                    AttentionKernels.flat(op.dq(), op.losses(), read));
            if (op.dk() != null) {
                losses.launch(
                        "attention_loss_dk_" + chunks,
                        AttentionKernels.keyTiles(spec, spec.heads().kv(), sequences, threads)
                                .sideBySide(parts),
                        AttentionKernels.flat(op.dk(), read));
            }
        }
    }

    /// How many 64 columns of its output a block keeps in registers.
    private static int chunks(int dim) {
        int needed = Math.ceilDiv(dim, AttentionKernels.TILE);
        return needed <= 2 ? needed : AttentionKernels.WIDE_CHUNKS;
    }

    /// What both kernels read.
    private static Object[] sides(
            LossOp.AccumulateAttentionLoss op, Gpu.Scratch own, Gpu.Scratch theirs) {
        LossOp.Scores student = op.student();
        LossOp.Scores teacher = op.teacher();
        AttentionSpec.Heads heads = student.spec().heads();
        AttentionSpec.Heads others = teacher.spec().heads();
        return AttentionKernels.flat(
                student.q(),
                student.k(),
                own,
                heads.kv(),
                heads.dim(),
                AttentionKernels.scoring(student.spec(), student.slopes()),
                teacher.q(),
                teacher.k(),
                theirs,
                others.kv(),
                others.dim(),
                teacher.spec().scale(),
                teacher.spec().softcap(),
                teacher.slopes(),
                sequences(student),
                heads.count(),
                op.scale());
    }
}
