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

    /// Of inputs themselves.
    ///
    /// @param d receives them, F32 `[in, width]`
    /// @param x F32 `[tokens, in]`
    static Tensor of(Desk d, Tensor x, int width) {
        int in = Math.toIntExact(x.cols());
        int across = Math.min(in, width);
        Tensor all = d.f32(in, across);
        try (Desk own = d.fresh(partBytes(x.rows(), across))) {
            Tensor part = own.f32(x.rows(), across);
            Tensor gram = own.f32(across, across);
            for (int from = 0; from < in; from += across) {
                int n = Math.min(across, in - from);
                if (n == across) {
                    own.run(new ForwardOp.Columns(part, x, from));
                } else {
                    narrow(own, part, x, from, n);
                }
                own.run(new ForwardOp.Zero(gram));
                own.run(new StatisticOp.AccumulateGram(gram, part, 1));
                own.run(new ForwardOp.Scale(all.rows(from, from + n), gram.rows(0, n), 1));
            }
        }
        return all;
    }

    /// The last group, where it has fewer columns than the others: the rest are zero.
    private static void narrow(Desk d, Tensor part, Tensor x, int from, int n) {
        try (Desk own = d.fresh(4 * x.rows() * n + 1024)) {
            Tensor some = own.f32(x.rows(), n);
            own.run(new ForwardOp.Columns(some, x, from));
            own.run(new ForwardOp.Zero(part));
            own.run(new ForwardOp.PutColumns(part, some, 0));
        }
    }

    private static long partBytes(long tokens, long width) {
        return 4 * width * (tokens + width) + 1024;
    }

    /// Bytes that they take, and that it takes to make them.
    static long bytes(long in, long width, long tokens) {
        long across = Math.min(in, width);
        return 4 * in * across + partBytes(2 * tokens, across) + 4096;
    }
}
