// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.I32;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Reads the rows of a packed weight: `w = round((code - zero) * scale)`.
final class Codes {
    private final int bits;
    private final int mask;
    private final int groupLength;
    private final long groups;
    private final long words;
    private final DType type;
    private final MemorySegment codes;
    private final MemorySegment scales;
    private final MemorySegment zeros;
    private final MemorySegment groupIndex;

    Codes(Weight.Grouped w) {
        bits = w.spec().bits();
        mask = w.spec().maxCode();
        groupLength = Math.toIntExact(w.spec().groupLength(w.inFeatures()));
        groups = w.spec().groups(w.inFeatures());
        words = w.spec().words(w.inFeatures());
        type = w.scales().dtype();
        codes = w.codes().bytes();
        scales = w.scales().bytes();
        zeros = w.zeros().bytes();
        groupIndex = w.groupIndex() == null ? null : w.groupIndex().bytes();
    }

    /// `dst[at, at+n)` = weights `[k0, k0 + n)` of a row.
    void decode(float[] dst, int at, long row, int k0, int n, Scratch scratch) {
        float[] rowScales = scratch.floats(5, Math.toIntExact(groups));
        Lanes.read(rowScales, 0, scales, type, row * groups, Math.toIntExact(groups));
        for (int i = 0; i < n; i++) {
            int k = k0 + i;
            int g = groupIndex == null ? k / groupLength : groupIndex.get(I32, 4L * k);
            int zero = zeros.get(ValueLayout.JAVA_BYTE, row * groups + g) & 0xff;
            dst[at + i] = Lanes.round((code(row, k) - zero) * rowScales[g], type);
        }
    }

    private int code(long row, int k) {
        long bit = (long) k * bits;
        long word = row * words + (bit >> 5);
        int shift = (int) (bit & 31);
        long window = codes.get(I32, 4 * word) & 0xffffffffL;
        if (shift + bits > 32) {
            window |= (codes.get(I32, 4 * word + 4) & 0xffffffffL) << 32;
        }
        return (int) (window >>> shift) & mask;
    }
}
