// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.gpu.KeySource.Sequence;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import java.math.BigInteger;
import java.util.List;

/// Attention to keys in a list, which a query has for itself: a block has the heads that share it,
/// up to 16 of them. F32 units limit it where there are so many, else the cache that keys are read
/// from: each is read once for a block.
final class SeenKernels {
    private static final int THREADS = 256;

    /// Channels of values that a block sums up.
    private static final int COLUMNS = 512;

    /// Up to so many of them heads are shared out to threads, too.
    private static final int FEW_COLUMNS = 128;

    /// That fill a large device.
    private static final long BLOCKS = 264;

    private final Kernels kernels;

    SeenKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "seen");
    }

    /// What both operations are.
    ///
    /// @param near keys of the nearest tokens, which are values, too
    /// @param window so many of them
    /// @param rate a listed key lies at the last of so many tokens
    private record Attention(
            Tensor out,
            Tensor q,
            Keys near,
            Keys far,
            Keys values,
            Tensor chosen,
            int window,
            int rate,
            Tensor sinks,
            AttentionSpec.Heads heads,
            float scale) {
        /// Of a query.
        int lists() {
            return chosen == null ? 1 : Math.toIntExact(chosen.rows() / q.rows());
        }

        /// Neighbouring heads that have the same keys, and the same list.
        int shared() {
            BigInteger list = BigInteger.valueOf(heads.count() / lists());
            return list.gcd(BigInteger.valueOf(heads.group())).intValueExact();
        }
    }

    void attend(SparseOp.ChosenAttention op) {
        attend(
                new Attention(
                        op.out(),
                        op.q(),
                        op.k(),
                        op.k(),
                        op.v(),
                        op.chosen(),
                        0,
                        1,
                        null,
                        op.heads(),
                        op.scale()));
    }

    void attend(CompressedOp.CompressedAttention op) {
        CompressedOp.Sight sight = op.sight();
        attend(
                new Attention(
                        op.out(),
                        op.q(),
                        op.keys(),
                        op.entries(),
                        op.entries(),
                        op.chosen(),
                        sight.window(),
                        sight.rate(),
                        op.sinks(),
                        new AttentionSpec.Heads(sight.heads(), 1, sight.dim(), sight.dim()),
                        sight.scale()));
    }

    private void attend(Attention a) {
        AttentionSpec.Heads heads = a.heads();
        List<Sequence> sequences = KeySource.sequences(a.near(), a.far(), a.values());
        int shared = a.shared();
        int parts = Math.ceilDiv(heads.valueDim(), COLUMNS) * heads.count() / shared;
        long queries = sequences.stream().mapToLong(Sequence::length).sum();
        int rows = rows(shared, queries * parts);
        int sides = rows > 1 && heads.valueDim() <= FEW_COLUMNS ? 4 : 1;
        int tiles = Math.ceilDiv(shared, rows);
        for (List<Sequence> some : KeySource.launches(sequences)) {
            kernels.launch(
                    "attend_%d_%d".formatted(rows, sides),
                    Grid.blocks(
                                    some.stream().mapToInt(Sequence::length).max().orElse(0),
                                    (long) parts * tiles,
                                    some.size(),
                                    THREADS)
                            .withShared(4L * rows * line(heads.dim())),
                    a.out(),
                    a.q(),
                    KeySource.packed(a.near(), heads.kv()),
                    KeySource.packed(a.far(), heads.kv()),
                    KeySource.packed(a.values(), heads.kv()),
                    a.chosen(),
                    a.chosen() == null ? 0 : Math.toIntExact(a.chosen().cols()),
                    a.lists(),
                    a.window(),
                    a.rate(),
                    a.sinks(),
                    heads.count(),
                    heads.kv(),
                    heads.dim(),
                    heads.valueDim(),
                    a.scale(),
                    shared,
                    tiles,
                    KeySource.packed(some));
        }
    }

    /// Of a block: many, since a key is read for all of them, unless that leaves too few blocks.
    /// The bits are the same.
    private static int rows(int shared, long others) {
        if (shared > 8 && others * Math.ceilDiv(shared, 16) >= BLOCKS) {
            return 16;
        }
        return shared > 1 && others * Math.ceilDiv(shared, 4) >= BLOCKS ? 4 : 1;
    }

    /// Of a row in shared memory.
    static int line(int dim) {
        return Math.ceilDiv(dim, 4) * 4 + 4;
    }
}
