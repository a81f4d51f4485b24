// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;

/// One factor of a matrix product, `[rows, k]`, and how its floats are read.
sealed interface Operand {
    /// Rows that lie one after another, k contiguous.
    ///
    /// @param from element of the first row
    /// @param stride elements from row to row
    record Rows(MemorySegment bytes, DType type, long from, long stride) implements Operand {}

    /// The transpose of F32 rows: row i is column i of them.
    record Columns(MemorySegment bytes, long from, long stride) implements Operand {}

    /// A packed weight, decoded as it is read.
    record Packed(Weight weight, Decoder decoder) implements Operand {}

    static Operand of(Tensor t) {
        return new Rows(t.bytes(), t.dtype(), 0, t.cols());
    }

    static Operand transposed(Tensor t) {
        return new Columns(t.bytes(), 0, t.cols());
    }

    static Operand of(Weight w) {
        return switch (w) {
            case Weight.Dense(var values) -> of(values);
            case Weight.Grouped g -> new Packed(w, new GroupedRows(g));
            case Weight.Scaled s -> new Packed(w, new ScaledRows(s));
            case Weight.Blocks b -> new Packed(w, new BlockRows(b));
        };
    }

    /// Packs `[first, first + count)` of the rows and `[k0, k0 + n)` of k as panels of `width`
    /// rows, one after another: `panel[at + q * n * width + k * width + i]`, rows past `count`
    /// zero.
    default void pack(
            float[] panel,
            int at,
            int width,
            int first,
            int count,
            int k0,
            int n,
            Scratch scratch) {
        switch (this) {
            case Columns(var bytes, long from, long stride) when bytes.isMapped() ->
                    copied(bytes, from + k0 * stride + first, stride, count, n)
                            .pack(panel, at, width, 0, count, 0, n, scratch);
            case Columns(var bytes, long from, long stride) ->
                    Panels.copy(
                            panel,
                            at,
                            width,
                            n * width,
                            bytes,
                            from + k0 * stride + first,
                            stride,
                            count,
                            n);
            case Rows _, Packed _ -> {
                int line = Lanes.padded(n);
                float[] decoded = scratch.floats(0, width * line);
                for (int q = 0; q < count; q += width) {
                    int rows = Math.min(width, count - q);
                    for (int i = 0; i < rows; i++) {
                        read(decoded, i * line, first + q + i, k0, n, scratch);
                    }
                    Panels.transpose(panel, at + q * n, width, decoded, line, rows, n);
                }
            }
        }
    }

    /// A part of the transpose of a mapped file, out of it: see [Lanes#read].
    private static Columns copied(MemorySegment bytes, long from, long stride, int count, int n) {
        float[] copy = new float[n * count];
        for (int k = 0; k < n; k++) {
            MemorySegment.copy(bytes, Lanes.F32, 4 * (from + k * stride), copy, k * count, count);
        }
        return new Columns(MemorySegment.ofArray(copy), 0, count);
    }

    /// `dst[at, at + n)` = `[k0, k0 + n)` of a row.
    default void read(float[] dst, int at, long row, int k0, int n, Scratch scratch) {
        switch (this) {
            case Columns(var bytes, long from, long stride) -> {
                for (int k = 0; k < n; k++) {
                    dst[at + k] = bytes.get(Lanes.F32, 4 * (from + (k0 + k) * stride + row));
                }
            }
            case Rows(var bytes, var type, long from, long stride) ->
                    Lanes.read(dst, at, bytes, type, from + row * stride + k0, n);
            case Packed(_, var decoder) -> decoder.decode(dst, at, row, k0, n, scratch);
        }
    }
}
