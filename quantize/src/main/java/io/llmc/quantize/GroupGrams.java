// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.Tensor;

/// Gram matrices of the inputs of each group of a layer's weights, below each other: what the
/// search of ranges by outputs weighs errors with. They are the blocks along the diagonal of the
/// layer's own Gram matrix.
final class GroupGrams {
    private GroupGrams() {}

    /// Tokens that are looked at together: a sample has more where one sequence is longer.
    private static final int CHUNK = 2048;

    /// Of inputs themselves.
    ///
    /// @param d receives them, F32 `[in, width]`
    /// @param x F32 `[tokens, in]`
    static Tensor of(Desk d, Tensor x, int width) {
        int in = Math.toIntExact(x.cols());
        int across = Math.min(in, width);
        Tensor all = d.f32(in, across);
        try (Desk own = d.fresh(partBytes(x.rows(), across))) {
            Tensor gram = own.f32(across, across);
            for (int from = 0; from < in; from += across) {
                int n = Math.min(across, in - from);
                own.run(new ForwardOp.Zero(gram));
                for (long row = 0; row < x.rows(); row += CHUNK) {
                    Tensor some = x.rows(row, Math.min(x.rows(), row + CHUNK));
                    try (Desk room = own.scratch()) {
                        Tensor part = columns(room, some, from, n, across);
                        room.run(new StatisticOp.AccumulateGram(gram, part, 1));
                    }
                }
                own.run(new ForwardOp.Scale(all.rows(from, from + n), gram.rows(0, n), 1));
            }
        }
        return all;
    }

    /// The last group may have fewer columns than the others: the rest are zero.
    private static Tensor columns(Desk d, Tensor x, int from, int n, int across) {
        Tensor part = d.f32(x.rows(), across);
        if (n == across) {
            d.run(new ForwardOp.Columns(part, x, from));
        } else {
            Tensor some = d.f32(x.rows(), n);
            d.run(new ForwardOp.Columns(some, x, from));
            d.run(new ForwardOp.Zero(part));
            d.run(new ForwardOp.PutColumns(part, some, 0));
        }
        return part;
    }

    private static long partBytes(long tokens, long width) {
        return 4 * width * (2 * Math.min(tokens, CHUNK) + width) + 4096;
    }

    /// Bytes that they take, and that it takes to make them of however many tokens.
    static long bytes(long in, long width) {
        long across = Math.min(in, width);
        return 4 * in * across + partBytes(CHUNK, across) + 4096;
    }
}
