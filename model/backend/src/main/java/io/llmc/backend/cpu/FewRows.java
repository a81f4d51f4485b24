// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Products of so few rows that reading the weight decides: each of its rows is read once, in the
/// order of memory, and multiplied with all rows of x while it is in a cache.
///
/// See [Dots] for the order of sums: the same for every number of rows, but another one than that
/// of the kernels for many rows, and one that depends on the CPU's vectors.
final class FewRows {
    /// Rows up to which this is the fastest way.
    static final int MOST = 8;

    /// Bytes of a weight that a worker takes at a time: enough to be worth handing out, and parts
    /// of a small weight for all workers.
    private static final long TILE = 1 << 16;

    private static final long LEAST_TILE = 1 << 12;
    private static final int TILES = 16;

    private final Workers workers;
    private final RowPairs pairs = new RowPairs();

    FewRows(Workers workers) {
        this.workers = workers;
    }

    /// Rows of x, `width` from one to the next.
    ///
    /// @param rows an even number
    private record X(MemorySegment rows, int count, int width) {}

    /// All of a product that is `a b^T` and nothing more.
    ///
    /// @param type what x is rounded to: F32 or BF16
    void multiply(Product p, DType type) {
        Scratch shared = workers.borrow();
        Dots dots = Dots.of(p.b(), p.k());
        int width = Math.ceilDiv(p.k(), Dots.STEP) * Dots.STEP;
        MemorySegment rowsOfX = even(p, type, width, shared);
        X x = new X(rowsOfX, p.m(), width);
        if (p.m() <= dots.most()) {
            dots.take(rowsOfX, p.m(), width, shared);
        }
        long bytes = Math.max(1, dots.rowBytes());
        long tile = Math.clamp(bytes * p.n() / TILES, LEAST_TILE, TILE);
        int rows = Math.toIntExact(Math.clamp(tile / bytes, 1, p.n()));
        workers.forEach(
                Math.ceilDiv(p.n(), rows),
                (t, scratch) -> {
                    int first = t * rows;
                    int count = Math.min(rows, p.n() - first);
                    float[] sums = scratch.floats(4, p.m() * count);
                    multiply(sums, first, count, dots, x, scratch);
                    for (int i = 0; i < p.m(); i++) {
                        long to = p.from() + i * p.stride() + first;
                        MemorySegment.copy(sums, i * count, p.c(), Lanes.F32, 4 * to, count);
                    }
                });
        workers.giveBack(shared);
    }

    /// `sums[i * count + j]` = row `i` of x times row `first + j` of the weight
    private void multiply(float[] sums, int first, int count, Dots dots, X x, Scratch scratch) {
        int m = x.count;
        if (m <= dots.most()) {
            float[] vectors = scratch.floats(5, Math.max(4, m) * count * N);
            if (dots.multiply(vectors, first, count, scratch)) {
                Dots.fold(sums, 0, vectors, m * count);
                return;
            }
        }
        int per = Math.ceilDiv(count, Dots.ROWS);
        int width = x.width;
        MemorySegment panel = scratch.bytes(2, 4L * Dots.ROWS * width);
        panel.asSlice(0, 4L * Dots.ROWS * width).fill((byte) 0);
        float[] products = scratch.floats(7, Dots.ROWS * m);
        // With several rows of x it is not memory that is waited for.
        int stride = m == 1 ? per : 1;
        for (int j = 0; j < per; j++) {
            int from = m == 1 ? j : j * Dots.ROWS;
            int rows = Math.min(Dots.ROWS, Math.ceilDiv(count - from, stride));
            dots.decode(panel, width, new Dots.Rows(first + from, stride, rows), scratch);
            multiply(products, panel, x, scratch);
            for (int i = 0; i < m; i++) {
                for (int r = 0; r < rows; r++) {
                    sums[i * count + from + r * stride] = products[i * Dots.ROWS + r];
                }
            }
        }
    }

    /// `products[i * ROWS + r]` = row `i` of x times row `r` of the panel
    private void multiply(float[] products, MemorySegment panel, X x, Scratch scratch) {
        int m = x.count;
        float[] vectors = scratch.floats(5, Dots.ROWS * (MOST + 1) * N);
        if (m == 1) {
            pairs.single(vectors, panel, x.rows, x.width);
            Dots.fold(products, 0, vectors, Dots.ROWS);
            return;
        }
        for (int r = 0; r < Dots.ROWS; r += 2) {
            pairs.multiply(vectors, panel, 4L * r * x.width, x.rows, x.width, m + m % 2);
            float[] folded = scratch.floats(6, 2 * MOST);
            Dots.fold(folded, 0, vectors, 2 * m);
            for (int i = 0; i < m; i++) {
                products[i * Dots.ROWS + r] = folded[2 * i];
                products[i * Dots.ROWS + r + 1] = folded[2 * i + 1];
            }
        }
    }

    /// An even number of rows of x, F32, aligned, without gaps, in whole steps; zeros fill up.
    private static MemorySegment even(Product p, DType type, int width, Scratch shared) {
        int k = p.k();
        long bytes = 4L * (p.m() + p.m() % 2) * width;
        MemorySegment to = shared.bytes(3, bytes);
        to.asSlice(0, bytes).fill((byte) 0);
        float[] row = shared.floats(0, Lanes.padded(k));
        for (int i = 0; i < p.m(); i++) {
            p.a().read(row, 0, i, 0, k, shared);
            for (int j = 0; j < k && type != DType.F32; j++) {
                row[j] = Lanes.round(row[j], type);
            }
            MemorySegment.copy(row, 0, to, Lanes.F32, 4L * i * width, k);
        }
        return to;
    }
}
