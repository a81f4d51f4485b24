// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// A matrix in memory, whose elements lie at even distances.
///
/// @param first element
/// @param row elements from one row to the next
/// @param col elements from one column to the next
record Strided(MemorySegment bytes, long first, long row, long col) {
    /// Sides of the squares in which elements change places, so that caches see both matrices.
    private static final int SIDE = 32;

    /// @param size bytes of an element, 2 or 4
    void copy(Strided from, long rows, long cols, int size) {
        for (long r0 = 0; r0 < rows; r0 += SIDE) {
            long r1 = Math.min(rows, r0 + SIDE);
            for (long c0 = 0; c0 < cols; c0 += SIDE) {
                long c1 = Math.min(cols, c0 + SIDE);
                if (size == 2) {
                    shorts(from, r0, r1, c0, c1);
                } else {
                    ints(from, r0, r1, c0, c1);
                }
            }
        }
    }

    private void shorts(Strided from, long r0, long r1, long c0, long c1) {
        for (long r = r0; r < r1; r++) {
            for (long c = c0; c < c1; c++) {
                short v = from.bytes.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * from.at(r, c));
                bytes.set(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * at(r, c), v);
            }
        }
    }

    private void ints(Strided from, long r0, long r1, long c0, long c1) {
        for (long r = r0; r < r1; r++) {
            for (long c = c0; c < c1; c++) {
                int v = from.bytes.get(ValueLayout.JAVA_INT_UNALIGNED, 4 * from.at(r, c));
                bytes.set(ValueLayout.JAVA_INT_UNALIGNED, 4 * at(r, c), v);
            }
        }
    }

    private long at(long r, long c) {
        return first + r * row + c * col;
    }
}
