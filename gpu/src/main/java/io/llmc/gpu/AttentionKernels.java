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
        if (op.q().rows() == 0) {
            return;
        }
        if (halves(op.spec().heads())) {
            halves(op);
        } else {
            wide(op);
        }
    }

    /// Keys and values are split into halves once, for all the blocks that read them.
    private void halves(ForwardOp.Attention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int columns = columns(heads);
        int sequences = sequences(op);
        int keys = op.spec().reach().keys();
        int padded = padded(keys);
        long rows = (long) sequences * heads.kv() * padded;
        try (Gpu.Scratch halves = gpu.scratch(halvesBytes(rows, columns));
                Gpu.Scratch factors = gpu.scratch(rows * 2 * 4)) {
            kernels.launch(
                    "attention_split",
                    Grid.blocks(Math.ceilDiv(rows * 32, HALVES_THREADS), 2, HALVES_THREADS),
                    halves,
                    factors,
                    op.k(),
                    op.v(),
                    sequences,
                    keys,
                    padded,
                    heads.kv(),
                    heads.dim(),
                    heads.valueDim(),
                    columns);
            kernels.launch(
                    "attention_" + columns,
                    queryTiles(op.spec(), sequences, HALVES_THREADS),
                    flat(
                            op.out(),
                            op.q(),
                            halves,
                            factors,
                            op.sinks(),
                            sequences,
                            padded,
                            heads.count(),
                            heads.kv(),
                            heads.dim(),
                            heads.valueDim(),
                            scoring(op.spec(), op.slopes())));
        }
    }

    private void wide(ForwardOp.Attention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int sequences = sequences(op);
        wide.launch(
                "attention_wide",
                queryTiles(op.spec(), sequences, THREADS)
                        .sideBySide(chunks(heads.valueDim(), WIDE_CHUNKS)),
                flat(
                        op.out(),
                        op.q(),
                        op.k(),
                        op.v(),
                        op.sinks(),
                        sequences,
                        heads.count(),
                        heads.kv(),
                        heads.dim(),
                        heads.valueDim(),
                        scoring(op.spec(), op.slopes())));
    }

    static int sequences(ForwardOp.Attention op) {
        return Math.toIntExact(op.q().rows() / op.spec().reach().length());
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

    /// `SCORING` in attention.cuh. What hides nothing is 0 there.
    static Object[] scoring(AttentionSpec spec, Tensor slopes) {
        AttentionSpec.Reach reach = spec.reach();
        return new Object[] {
            reach.length(),
            reach.keys(),
            reach.window() < reach.keys() ? reach.window() : 0,
            reach.chunk() < reach.keys() ? reach.chunk() : 0,
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
