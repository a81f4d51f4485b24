// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// The gradient of attention, and the loss between two attentions.
///
/// Each query's maximum and logarithm of the sum come first, into scratch; then blocks that have
/// queries, then blocks that have keys.
final class AttentionGradKernels {
    private static final int DELTA_THREADS = 256;

    /// Of a query's maximum and logarithm.
    private static final long STATS_BYTES = 8;

    private final Gpu gpu;
    private final Kernels kernels;
    private final Kernels losses;

    AttentionGradKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "attention_grad");
        losses = new Kernels(gpu, "attention_loss");
    }

    void gradient(Op.AccumulateAttentionGrad op) {
        Op.AttentionSpec spec = op.spec();
        long n = op.q().rows() * spec.heads();
        if (n == 0) {
            return;
        }
        int chunks = AttentionKernels.chunks(spec.headDim());
        int sequences = AttentionKernels.sequences(op.q(), spec);
        try (Gpu.Scratch stats = gpu.scratch(STATS_BYTES * n);
                Gpu.Scratch delta = gpu.scratch(4 * n)) {
            stats(kernels, "attention_stats", stats, op.q(), op.k(), spec);
            kernels.launch(
                    "attention_delta",
                    Grid.blocks(Math.ceilDiv(n * 32, DELTA_THREADS), DELTA_THREADS),
                    delta,
                    op.dout(),
                    op.out(),
                    spec.headDim(),
                    n);
            kernels.launch(
                    "attention_dq_" + chunks,
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
            kernels.launch(
                    "attention_dkv_" + chunks,
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
            Op.AttentionSpec spec) {
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

    void loss(Op.AccumulateAttentionLoss op) {
        Op.Scores student = op.student();
        Op.Scores teacher = op.teacher();
        Op.AttentionSpec spec = student.spec();
        long n = student.q().rows() * spec.heads();
        if (n == 0) {
            return;
        }
        try (Gpu.Scratch own = gpu.scratch(STATS_BYTES * n);
                Gpu.Scratch theirs = gpu.scratch(STATS_BYTES * n)) {
            String stats = "attention_score_stats";
            stats(losses, stats, own, student.q(), student.k(), spec);
            stats(losses, stats, theirs, teacher.q(), teacher.k(), teacher.spec());
            int chunks = AttentionKernels.chunks(spec.headDim());
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

    /// Those of both kernels after what they write.
    private static Object[] arguments(
            Op.AccumulateAttentionLoss op, Gpu.Scratch own, Gpu.Scratch theirs, Object... written) {
        Op.AttentionSpec student = op.student().spec();
        Op.AttentionSpec teacher = op.teacher().spec();
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
