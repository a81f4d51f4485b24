// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;

/// Products of one row or two with weights that are seen once or twice, by [Loops]: those of
/// [FewRows] cost more to compile than a model of some billions of weights wins by them. The order
/// of sums is one of its own, the same on every CPU.
final class BriefRows {
    static final int MOST = 2;

    /// Elements of a weight that a worker takes at a time.
    private static final int TILE = 1 << 14;

    private final Workers workers;

    BriefRows(Workers workers) {
        this.workers = workers;
    }

    /// @param p of x and `w`, and nothing more
    void multiply(Product p, Weight w) {
        int k = p.k();
        float[] x = new float[k];
        float[] y = new float[k]; // zeros where there is one row
        Scratch shared = workers.borrow();
        p.a().read(x, 0, 0, 0, k, shared);
        if (p.m() == MOST) {
            p.a().read(y, 0, 1, 0, k, shared);
        }
        workers.giveBack(shared);
        PlainRows rows = PlainRows.of(w);
        int perTile = Math.max(1, TILE / k);
        workers.forEach(
                Math.ceilDiv(p.n(), perTile),
                (tile, scratch) -> {
                    int first = tile * perTile;
                    int count = Math.min(perTile, p.n() - first);
                    float[] row = scratch.floats(3, k);
                    float[] sums = scratch.floats(4, MOST * count);
                    for (int r = 0; r < count; r++) {
                        rows.read(row, first + r, scratch);
                        Loops.dots(sums, r, count, row, x, y, k);
                    }
                    for (int i = 0; i < p.m(); i++) {
                        long to = p.from() + i * p.stride() + first;
                        MemorySegment.copy(sums, i * count, p.c(), Lanes.F32, 4 * to, count);
                    }
                });
    }
}
