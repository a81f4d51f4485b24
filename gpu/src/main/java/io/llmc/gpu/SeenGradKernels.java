// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressedOp;
import io.llmc.backend.CompressedOp.Sight;
import io.llmc.backend.GradientOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// The gradient of attention to keys of tokens and to entries: of queries, then of what they saw.
/// F32 units limit it. What several blocks bring to a key is added up in a fixed order.
final class SeenGradKernels {
    private static final int THREADS = 256;

    /// Heads of a query that a block has at a time, and keys.
    private static final int ROWS = 8;

    private static final int KEYS = 32;

    /// Channels that a block sums up.
    private static final int COLUMNS = 512;

    /// Heads, and queries, that bring to entries what one block adds up.
    private static final int HEADS = 32;

    private static final int STRETCH = 256;

    private final Gpu gpu;
    private final Kernels kernels;

    SeenGradKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "seen_grad");
    }

    void gradient(GradientOp.AccumulateCompressedAttentionGrad op) {
        CompressedOp.CompressedAttention forward = op.forward();
        Sight sight = forward.sight();
        Keys.Whole keys = (Keys.Whole) forward.keys();
        Keys.Whole entries = (Keys.Whole) forward.entries();
        int length = keys.length();
        long rows = forward.q().rows();
        int columns = Math.ceilDiv(sight.dim(), COLUMNS);
        try (Gpu.Scratch stats = gpu.scratch(8L * rows * sight.heads())) {
            kernels.launch(
                    "seen_grad_queries",
                    Grid.blocks(
                                    length,
                                    (long) Math.ceilDiv(sight.heads(), ROWS) * columns,
                                    rows / length,
                                    THREADS)
                            .withShared(shared(sight)),
                    op.dq(),
                    stats,
                    op.dout(),
                    forward.out(),
                    forward.q(),
                    keys.x(),
                    entries.x(),
                    forward.chosen(),
                    most(forward),
                    sight.window(),
                    sight.rate(),
                    forward.sinks(),
                    sight.heads(),
                    sight.dim(),
                    sight.scale(),
                    length);
            keys(op, stats, op.dkeys(), keys.x(), length, false);
            keys(op, stats, op.dentries(), entries.x(), length, true);
            if (op.dsinks() != null) {
                kernels.launch(
                        "seen_grad_sinks",
                        Grid.blocks(sight.heads(), THREADS),
                        op.dsinks(),
                        stats,
                        forward.sinks(),
                        sight.heads(),
                        rows);
            }
        }
    }

    /// @param ofEntries else of tokens' keys
    private void keys(
            GradientOp.AccumulateCompressedAttentionGrad op,
            Gpu.Scratch stats,
            Tensor gradient,
            Tensor x,
            int length,
            boolean ofEntries) {
        CompressedOp.CompressedAttention forward = op.forward();
        Sight sight = forward.sight();
        int sequences = Math.toIntExact(x.rows() / length);
        int rate = ofEntries ? sight.rate() : 1;
        int count = length / rate;
        int stretch = ofEntries ? STRETCH : length;
        int splits = Math.ceilDiv(sight.heads(), HEADS) * Math.ceilDiv(length, stretch);
        long numbers = (long) sequences * count * sight.dim();
        if (count == 0) {
            return;
        }
        try (Gpu.Scratch sums = gpu.scratch(4 * splits * numbers)) {
            kernels.launch(
                    "seen_grad_keys",
                    Grid.blocks(
                                    Math.ceilDiv(count, KEYS),
                                    (long) splits * Math.ceilDiv(sight.dim(), COLUMNS),
                                    sequences,
                                    THREADS)
                            .withShared(shared(sight)),
                    sums,
                    stats,
                    op.dout(),
                    forward.q(),
                    x,
                    ofEntries ? forward.chosen() : null,
                    most(forward),
                    ofEntries ? 0 : sight.window(),
                    rate,
                    sight.heads(),
                    sight.dim(),
                    sight.scale(),
                    length,
                    count,
                    HEADS,
                    stretch,
                    splits);
            kernels.launch(
                    "seen_grad_sum",
                    Grid.elements(numbers),
                    gradient,
                    sums,
                    splits,
                    sequences,
                    count,
                    rate,
                    sight.dim(),
                    length);
        }
    }

    private static int most(CompressedOp.CompressedAttention forward) {
        return forward.chosen() == null ? 0 : Math.toIntExact(forward.chosen().cols());
    }

    private static long shared(Sight sight) {
        return 2L * 4 * ROWS * SeenKernels.line(sight.dim());
    }
}
