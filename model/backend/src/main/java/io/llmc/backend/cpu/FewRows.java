// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/// Products of so few rows that reading the weight decides: each of its rows is read once, in the
/// order of memory, and multiplied with all rows of x while it is in a cache.
///
/// See [Dots] for the order of sums: the same for every number of rows, but another one than that
/// of the kernels for many rows, and one that depends on the CPU's vectors.
final class FewRows {
    /// Rows up to which this is the fastest way.
    static final int MOST = 8;

    /// Bytes of a weight that a worker takes at a time: few enough for all workers to end at about
    /// the same time, and enough for a core to read ahead most of them, which begins anew with each
    /// tile, for codes and for scales.
    private static final long TILE = 1 << 18;

    private static final long LEAST_TILE = 1 << 14;

    /// Tiles of a small weight for each worker.
    private static final int TILES = 2;

    private final Workers workers;
    private final RowPairs pairs = new RowPairs();

    /// Whether rows of x become integers for integers of four bits.
    private final boolean integers;

    FewRows(Workers workers, boolean integers) {
        this.workers = workers;
        this.integers = integers;
    }

    /// Rows of x, `width` from one to the next.
    ///
    /// @param rows an even number
    private record X(MemorySegment rows, int count, int width) {}

    /// A product, its rows handed out in tiles.
    ///
    /// @param shared what its operands are kept in until it is done
    private record Task(Product p, DType rounds, Dots dots, X x, int rows, Scratch shared) {
        int tiles() {
            return Math.ceilDiv(p.n(), rows);
        }

        boolean hasInputOf(Product other, DType type) {
            return rounds == type
                    && p.m() == other.m()
                    && p.k() == other.k()
                    && p.a().equals(other.a());
        }
    }

    /// All of products that are `a b^T` and nothing more, none of which writes what another one
    /// reads or writes.
    ///
    /// @param rounds what x is rounded to, of each product: F32 or BF16
    void multiply(List<Product> products, List<DType> rounds) {
        Task[] tasks = new Task[products.size()];
        int tiles = 0;
        for (int i = 0; i < tasks.length; i++) {
            tasks[i] = task(products.get(i), rounds.get(i), i == 0 ? null : tasks[i - 1]);
            tiles += tasks[i].tiles();
        }
        workers.forEach(
                tiles,
                (t, scratch) -> {
                    int i = 0;
                    int tile = t;
                    for (; tile >= tasks[i].tiles(); i++) {
                        tile -= tasks[i].tiles();
                    }
                    multiply(tasks[i], tile, scratch);
                });
        for (Task task : tasks) {
            workers.giveBack(task.shared);
        }
    }

    /// @param before the product before this one, null for none: queries, keys and values have one
    ///   input
    private Task task(Product p, DType rounds, Task before) {
        Scratch shared = workers.borrow();
        Dots dots = Dots.of(p.b(), p.k(), integers);
        boolean again = before != null && before.hasInputOf(p, rounds);
        X x = again ? before.x : even(p, rounds, shared);
        if (p.m() <= dots.most()) {
            dots.take(x.rows, p.m(), x.width, again ? before.dots : null, shared);
        }
        long bytes = Math.max(1, dots.rowBytes());
        long each = bytes * p.n() / ((long) TILES * workers.threads());
        long tile = Math.clamp(each, LEAST_TILE, TILE);
        int rows = Math.toIntExact(Math.clamp(tile / bytes, 1, p.n()));
        return new Task(p, rounds, dots, x, rows, shared);
    }

    private void multiply(Task task, int tile, Scratch scratch) {
        Product p = task.p;
        int first = tile * task.rows;
        int count = Math.min(task.rows, p.n() - first);
        float[] sums = scratch.floats(4, p.m() * count);
        multiply(sums, first, count, task.dots, task.x, scratch);
        for (int i = 0; i < p.m(); i++) {
            long to = p.from() + i * p.stride() + first;
            MemorySegment.copy(sums, i * count, p.c(), Lanes.F32, 4 * to, count);
        }
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
    private static X even(Product p, DType type, Scratch shared) {
        int k = p.k();
        int width = Math.ceilDiv(k, Dots.STEP) * Dots.STEP;
        long rowBytes = 4L * width;
        int rows = p.m() + p.m() % 2;
        MemorySegment to = shared.bytes(3, rows * rowBytes);
        float[] row = shared.floats(0, Math.max(width, Lanes.padded(k)));
        for (int i = 0; i < rows; i++) {
            if (i < p.m()) {
                p.a().read(row, 0, i, 0, k, shared);
                Arrays.fill(row, k, width, 0);
            } else {
                Arrays.fill(row, 0, width, 0);
            }
            for (int j = 0; j < k && type != DType.F32; j++) {
                row[j] = Lanes.round(row[j], type);
            }
            MemorySegment.copy(row, 0, to, Lanes.F32, i * rowBytes, width);
        }
        return new X(to, p.m(), width);
    }
}
