// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;

/// Products of a few rows with weights that are seen once or twice, by [Loops]: those of [FewRows]
/// cost more to compile than a model of some billions of weights wins by them. The order of sums is
/// one of its own, the same on every CPU.
final class BriefRows {
    private final Workers workers;

    BriefRows(Workers workers) {
        this.workers = workers;
    }

    /// @param p of x and `w`, and nothing more
    void multiply(Product p, Weight w) {
        int k = p.k();
        Scratch shared = workers.borrow();
        float[] x = shared.floats(0, p.m() * k);
        for (int i = 0; i < p.m(); i++) {
            p.a().read(x, i * k, i, 0, k, shared);
        }
        PlainRows rows = PlainRows.of(w);
        int perTile = Math.max(1, (1 << 14) / k);
        workers.forEach(
                Math.ceilDiv(p.n(), perTile),
                (tile, scratch) -> {
                    int first = tile * perTile;
                    int count = Math.min(perTile, p.n() - first);
                    float[] row = scratch.floats(3, k);
                    float[] sums = scratch.floats(4, p.m() * count);
                    for (int r = 0; r < count; r++) {
                        rows.read(row, first + r, scratch);
                        for (int i = 0; i < p.m(); i++) {
                            sums[i * count + r] = Loops.dot(row, x, i * k, k);
                        }
                    }
                    for (int i = 0; i < p.m(); i++) {
                        long to = p.from() + i * p.stride() + first;
                        MemorySegment.copy(sums, i * count, p.c(), Lanes.F32, 4 * to, count);
                    }
                });
        workers.giveBack(shared);
    }
}
