// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;

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

    void attention(Tensor out, Tensor q, Tensor k, Tensor v, ForwardOp.AttentionSpec spec) {
        if (q.rows() == 0) {
            return;
        }
        if (spec.headDim() <= MAX_HALVES) {
            halves(out, q, k, v, spec);
        } else {
            wide(out, q, k, v, spec);
        }
    }

    /// Keys and values are split into halves once, for all the blocks that read them.
    private void halves(Tensor out, Tensor q, Tensor k, Tensor v, ForwardOp.AttentionSpec spec) {
        int columns = columns(spec.headDim());
        int padded = padded(spec.length());
        int sequences = sequences(q, spec);
        long rows = (long) sequences * spec.kvHeads() * padded;
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
                    spec.length(),
                    padded,
                    spec.kvHeads(),
                    spec.headDim(),
                    columns);
            kernels.launch(
                    "attention_" + columns,
                    Grid.blocks(tiles(q, spec, spec.heads()).x(), HALVES_THREADS),
                    out,
                    q,
                    halves,
                    factors,
                    sequences,
                    spec.length(),
                    padded,
                    spec.heads(),
                    spec.kvHeads(),
                    spec.headDim(),
                    spec.scale(),
                    spec.window(),
                    spec.softcap());
        }
    }

    private void wide(Tensor out, Tensor q, Tensor k, Tensor v, ForwardOp.AttentionSpec spec) {
        wide.launch(
                "attention_wide",
                tiles(q, spec, spec.heads(), WIDE_CHUNKS),
                out,
                q,
                k,
                v,
                sequences(q, spec),
                spec.length(),
                spec.heads(),
                spec.kvHeads(),
                spec.headDim(),
                spec.scale(),
                spec.window(),
                spec.softcap());
    }

    static int sequences(Tensor q, ForwardOp.AttentionSpec spec) {
        return Math.toIntExact(q.rows() / spec.length());
    }

    /// Columns of a head's rows once they are halves.
    static int columns(int headDim) {
        return Math.ceilDiv(headDim, HALVES_STEP) * HALVES_STEP;
    }

    /// Rows of a sequence then.
    static int padded(int length) {
        return Math.ceilDiv(length, TILE) * TILE;
    }

    /// Of two operands, each of whose elements is two halves.
    static long halvesBytes(long rows, int columns) {
        return rows * columns * 2 * 2 * 2;
    }

    /// A block for each tile of each of so many heads of every sequence.
    static Grid tiles(Tensor q, ForwardOp.AttentionSpec spec, int heads) {
        long tiles = Math.ceilDiv(spec.length(), TILE);
        return Grid.blocks(tiles * heads * sequences(q, spec), THREADS);
    }

    /// Blocks stand side by side where one cannot keep all columns.
    static Grid tiles(Tensor q, ForwardOp.AttentionSpec spec, int heads, int chunks) {
        Grid tiles = tiles(q, spec, heads);
        return Grid.blocks(tiles.x(), Math.ceilDiv(spec.headDim(), chunks * TILE), THREADS);
    }
}
