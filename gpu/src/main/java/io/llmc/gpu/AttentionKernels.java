// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.stream.Stream;

/// Causal attention in tiles: on tensor cores for heads up to 128 wide.
final class AttentionKernels {
    /// As attention.cuh has them.
    static final int TILE = 64;

    static final int THREADS = 256;

    /// Columns of its output that a block keeps where heads are wide, in 64s.
    static final int WIDE_CHUNKS = 4;

    /// Of a block that multiplies halves.
    static final int HALVES_THREADS = 128;

    /// Columns that its registers have room for.
    static final int MAX_HALVES = 128;

    private static final int HALVES_STEP = 32;

    private final Gpu gpu;
    private final Kernels kernels;
    private final Kernels wide;

    AttentionKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "attention");
        wide = new Kernels(gpu, "attention_wide");
    }

    void attention(ForwardOp.Attention op) {
        attention(op.out(), op.q(), op.k(), op.v(), op.sinks(), op.slopes(), op.spec());
    }

    /// @param k a tensor, or scratch that holds its rows; v too
    void attention(
            Tensor out,
            Tensor q,
            Object k,
            Object v,
            Tensor sinks,
            Tensor slopes,
            AttentionSpec spec) {
        if (q.rows() == 0) {
            return;
        }
        if (halves(spec.heads())) {
            halves(out, q, k, v, sinks, slopes, spec);
        } else {
            wide(out, q, k, v, sinks, slopes, spec);
        }
    }

    /// Keys and values are split into halves once, for all the blocks that read them.
    private void halves(
            Tensor out,
            Tensor q,
            Object k,
            Object v,
            Tensor sinks,
            Tensor slopes,
            AttentionSpec spec) {
        AttentionSpec.Heads heads = spec.heads();
        int columns = columns(heads);
        int sequences = sequences(q, spec);
        int keys = spec.reach().keys();
        int padded = padded(keys);
        long rows = (long) sequences * heads.kv() * padded;
        try (Gpu.Scratch halves = gpu.scratch(halvesBytes(rows, columns));
                Gpu.Scratch factors = gpu.scratch(rows * 2 * 4)) {
            kernels.launch(
                    "attention_split",
                    Grid.blocks(Math.ceilDiv(rows * 32, HALVES_THREADS), 2, HALVES_THREADS),
                    halves,
                    factors,
                    k,
                    v,
                    sequences,
                    keys,
                    padded,
                    heads.kv(),
                    heads.dim(),
                    heads.valueDim(),
                    columns);
            kernels.launch(
                    "attention_" + columns,
                    queryTiles(spec, sequences, HALVES_THREADS),
                    flat(
                            out,
                            q,
                            halves,
                            factors,
                            sinks,
                            sequences,
                            padded,
                            heads.count(),
                            heads.kv(),
                            heads.dim(),
                            heads.valueDim(),
                            scoring(spec, slopes)));
        }
    }

    private void wide(
            Tensor out,
            Tensor q,
            Object k,
            Object v,
            Tensor sinks,
            Tensor slopes,
            AttentionSpec spec) {
        AttentionSpec.Heads heads = spec.heads();
        int sequences = sequences(q, spec);
        wide.launch(
                "attention_wide",
                queryTiles(spec, sequences, THREADS)
                        .sideBySide(chunks(heads.valueDim(), WIDE_CHUNKS)),
                flat(
                        out,
                        q,
                        k,
                        v,
                        sinks,
                        sequences,
                        heads.count(),
                        heads.kv(),
                        heads.dim(),
                        heads.valueDim(),
                        scoring(spec, slopes)));
    }

    static int sequences(ForwardOp.Attention op) {
        return sequences(op.q(), op.spec());
    }

    private static int sequences(Tensor q, AttentionSpec spec) {
        return Math.toIntExact(q.rows() / spec.reach().length());
    }

    /// Whether tensor cores can multiply such heads.
    static boolean halves(AttentionSpec.Heads heads) {
        return Math.max(heads.dim(), heads.valueDim()) <= MAX_HALVES;
    }

    /// Columns of a head's rows, of keys and of values, once they are halves.
    static int columns(AttentionSpec.Heads heads) {
        int wider = Math.max(heads.dim(), heads.valueDim());
        return Math.ceilDiv(wider, HALVES_STEP) * HALVES_STEP;
    }

    /// Rows of a sequence then.
    static int padded(int rows) {
        return Math.ceilDiv(rows, TILE) * TILE;
    }

    /// Of two operands, each of whose elements is two halves.
    static long halvesBytes(long rows, int columns) {
        return rows * columns * 2 * 2 * 2;
    }

    /// A block for each tile of queries of each head of every sequence.
    static Grid queryTiles(AttentionSpec spec, int sequences, int threads) {
        long tiles = Math.ceilDiv(spec.reach().length(), TILE);
        return Grid.blocks(tiles * spec.heads().count() * sequences, threads);
    }

    /// A block for each tile of keys of each of so many heads.
    static Grid keyTiles(AttentionSpec spec, int heads, int sequences, int threads) {
        long tiles = Math.ceilDiv(spec.reach().keys(), TILE);
        return Grid.blocks(tiles * heads * sequences, threads);
    }

    /// Blocks that have so many columns together, in 64s, if one keeps `chunks` of these.
    static int chunks(int columns, int chunks) {
        return Math.ceilDiv(columns, chunks * TILE);
    }

    static int window(AttentionSpec.Reach reach) {
        return reach.window() < reach.keys() ? reach.window() : 0;
    }

    static int chunk(AttentionSpec.Reach reach) {
        return reach.chunk() < reach.keys() ? reach.chunk() : 0;
    }

    /// `SCORING` in attention.cuh. What hides nothing is 0 there.
    static Object[] scoring(AttentionSpec spec, Tensor slopes) {
        AttentionSpec.Reach reach = spec.reach();
        return new Object[] {
            reach.length(),
            reach.keys(),
            window(reach),
            chunk(reach),
            spec.scale(),
            spec.softcap(),
            slopes
        };
    }

    /// Arguments of a kernel, lists among them taken apart.
    static Object[] flat(Object... arguments) {
        return Arrays.stream(arguments)
                .flatMap(a -> a instanceof Object[] some ? Arrays.stream(some) : Stream.of(a))
                .toArray();
    }
}
