// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.Tensor;

/// Causal attention in tiles.
final class AttentionKernels {
    /// As attention.cuh has them.
    static final int TILE = 64;

    static final int THREADS = 256;

    private final Kernels kernels;

    AttentionKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "attention");
    }

    void attention(Tensor out, Tensor q, Tensor k, Tensor v, Op.AttentionSpec spec) {
        int chunks = chunks(spec.headDim());
        kernels.launch(
                "attention_" + chunks,
                tiles(q, spec, spec.heads(), chunks),
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

    static int sequences(Tensor q, Op.AttentionSpec spec) {
        return Math.toIntExact(q.rows() / spec.length());
    }

    /// How many 64 columns of its output a block keeps in registers.
    static int chunks(int headDim) {
        return headDim <= TILE ? 1 : headDim <= 2 * TILE ? 2 : 4;
    }

    /// A block for each tile of each of so many heads of every sequence.
    static Grid tiles(Tensor q, Op.AttentionSpec spec, int heads) {
        long tiles = Math.ceilDiv(spec.length(), TILE);
        return Grid.blocks(tiles * heads * sequences(q, spec), THREADS);
    }

    /// Blocks stand side by side where one cannot keep all columns.
    static Grid tiles(Tensor q, Op.AttentionSpec spec, int heads, int chunks) {
        Grid tiles = tiles(q, spec, heads);
        return Grid.blocks(tiles.x(), Math.ceilDiv(spec.headDim(), chunks * TILE), THREADS);
    }
}
