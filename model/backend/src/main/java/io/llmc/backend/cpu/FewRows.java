// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Products of so few rows that reading the weight decides: each of its rows is read once, in the
/// order of memory, and multiplied with all rows of x while it is in a cache.
///
/// An element is the sum of the lanes of four vectors, to which the products of whole vectors are
/// added in turn: the same for every encoding and every number of rows, but another order than that
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

    FewRows(Workers workers) {
        this.workers = workers;
    }

    /// All of a product that is `a b^T` and nothing more.
    ///
    /// @param type what x is rounded to: F32 or BF16
    void multiply(Product p, DType type) {
        Scratch shared = workers.borrow();
        Dots dots = Dots.of(p.b(), p.k());
        Dots.Rows x = rows(p, type, dots.block(), shared);
        long bytes = Math.max(1, dots.rowBytes());
        long tile = Math.clamp(bytes * p.n() / TILES, LEAST_TILE, TILE);
        int rows = Math.toIntExact(Math.clamp(tile / bytes, 1, p.n()));
        workers.forEach(
                Math.ceilDiv(p.n(), rows),
                (t, scratch) -> {
                    int first = t * rows;
                    int count = Math.min(rows, p.n() - first);
                    float[] sums = scratch.floats(4, x.count() * count);
                    dots.run(sums, first, count, x, scratch);
                    for (int i = 0; i < x.count(); i++) {
                        long to = p.from() + i * p.stride() + first;
                        MemorySegment.copy(sums, i * count, p.c(), Lanes.F32, 4 * to, count);
                    }
                });
        workers.giveBack(shared);
    }

    private static Dots.Rows rows(Product p, DType type, int block, Scratch shared) {
        int k = p.k();
        int width = Math.ceilDiv(k, block) * block;
        int rest = k % block;
        MemorySegment to = shared.bytes(3, 4L * p.m() * width).fill((byte) 0);
        float[] row = shared.floats(0, Lanes.padded(k));
        for (int i = 0; i < p.m(); i++) {
            p.a().read(row, 0, i, 0, k, shared);
            for (int j = 0; j < k && type != DType.F32; j++) {
                row[j] = Lanes.round(row[j], type);
            }
            long at = 4L * i * width;
            long behind = rest == 0 ? 0 : 4L * block;
            MemorySegment.copy(row, 0, to, Lanes.F32, at, rest);
            MemorySegment.copy(row, rest, to, Lanes.F32, at + behind, k - rest);
        }
        return new Dots.Rows(to, p.m(), width);
    }
}
