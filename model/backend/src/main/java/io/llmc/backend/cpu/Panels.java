// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// Panels: slices of a factor in the order in which the product's inner loop reads them.
final class Panels {
    /// Eight by eight, also where vectors are wider; narrower ones would need other code.
    private static final VectorSpecies<Float> S = FloatVector.SPECIES_256;

    private static final boolean VECTORS = N >= 8;
    private static final VectorShuffle<Float> BY_1 = VectorShuffle.fromOp(S, l -> l ^ 1);
    private static final VectorShuffle<Float> BY_2 = VectorShuffle.fromOp(S, l -> l ^ 2);
    private static final VectorShuffle<Float> BY_4 = VectorShuffle.fromOp(S, l -> l ^ 4);
    private static final VectorMask<Float> ODD_1 = VectorMask.fromLong(S, 0b10101010);
    private static final VectorMask<Float> ODD_2 = VectorMask.fromLong(S, 0b11001100);
    private static final VectorMask<Float> ODD_4 = VectorMask.fromLong(S, 0b11110000);

    private Panels() {}

    /// `panel[at + k * width + i] = rows[i * line + k]`, rows past `count` zero.
    static void transpose(
            float[] panel, int at, int width, float[] rows, int line, int count, int n) {
        for (int i = count; i < width; i++) {
            for (int k = 0; k < n; k++) {
                rows[i * line + k] = 0;
            }
        }
        int done = VECTORS ? n & -8 : 0;
        if (VECTORS && width == 4) {
            transpose4(panel, at, rows, line, done);
        } else if (VECTORS) {
            for (int i = 0; i < width; i += 8) {
                transpose8(panel, at + i, width, rows, i * line, line, done);
            }
        }
        for (int k = done; k < n; k++) {
            for (int i = 0; i < width; i++) {
                panel[at + k * width + i] = rows[i * line + k];
            }
        }
    }

    /// Eight rows: three rounds of exchanges between rows whose numbers differ in one bit.
    private static void transpose8(
            float[] panel, int at, int width, float[] rows, int from, int line, int n) {
        for (int k = 0; k < n; k += 8) {
            int i = from + k;
            FloatVector r0 = FloatVector.fromArray(S, rows, i);
            FloatVector r1 = FloatVector.fromArray(S, rows, i + line);
            FloatVector r2 = FloatVector.fromArray(S, rows, i + 2 * line);
            FloatVector r3 = FloatVector.fromArray(S, rows, i + 3 * line);
            FloatVector r4 = FloatVector.fromArray(S, rows, i + 4 * line);
            FloatVector r5 = FloatVector.fromArray(S, rows, i + 5 * line);
            FloatVector r6 = FloatVector.fromArray(S, rows, i + 6 * line);
            FloatVector r7 = FloatVector.fromArray(S, rows, i + 7 * line);

            FloatVector a0 = r0.blend(r4.rearrange(BY_4), ODD_4);
            FloatVector a4 = r0.rearrange(BY_4).blend(r4, ODD_4);
            FloatVector a1 = r1.blend(r5.rearrange(BY_4), ODD_4);
            FloatVector a5 = r1.rearrange(BY_4).blend(r5, ODD_4);
            FloatVector a2 = r2.blend(r6.rearrange(BY_4), ODD_4);
            FloatVector a6 = r2.rearrange(BY_4).blend(r6, ODD_4);
            FloatVector a3 = r3.blend(r7.rearrange(BY_4), ODD_4);
            FloatVector a7 = r3.rearrange(BY_4).blend(r7, ODD_4);

            r0 = a0.blend(a2.rearrange(BY_2), ODD_2);
            r2 = a0.rearrange(BY_2).blend(a2, ODD_2);
            r1 = a1.blend(a3.rearrange(BY_2), ODD_2);
            r3 = a1.rearrange(BY_2).blend(a3, ODD_2);
            r4 = a4.blend(a6.rearrange(BY_2), ODD_2);
            r6 = a4.rearrange(BY_2).blend(a6, ODD_2);
            r5 = a5.blend(a7.rearrange(BY_2), ODD_2);
            r7 = a5.rearrange(BY_2).blend(a7, ODD_2);

            int to = at + k * width;
            r0.blend(r1.rearrange(BY_1), ODD_1).intoArray(panel, to);
            r0.rearrange(BY_1).blend(r1, ODD_1).intoArray(panel, to + width);
            r2.blend(r3.rearrange(BY_1), ODD_1).intoArray(panel, to + 2 * width);
            r2.rearrange(BY_1).blend(r3, ODD_1).intoArray(panel, to + 3 * width);
            r4.blend(r5.rearrange(BY_1), ODD_1).intoArray(panel, to + 4 * width);
            r4.rearrange(BY_1).blend(r5, ODD_1).intoArray(panel, to + 5 * width);
            r6.blend(r7.rearrange(BY_1), ODD_1).intoArray(panel, to + 6 * width);
            r6.rearrange(BY_1).blend(r7, ODD_1).intoArray(panel, to + 7 * width);
        }
    }

    /// Four rows, two of k in a vector.
    private static void transpose4(float[] panel, int at, float[] rows, int line, int n) {
        for (int k = 0; k < n; k += 8) {
            FloatVector r0 = FloatVector.fromArray(S, rows, k);
            FloatVector r1 = FloatVector.fromArray(S, rows, k + line);
            FloatVector r2 = FloatVector.fromArray(S, rows, k + 2 * line);
            FloatVector r3 = FloatVector.fromArray(S, rows, k + 3 * line);
            FloatVector a0 = r0.blend(r1.rearrange(BY_1), ODD_1);
            FloatVector a1 = r0.rearrange(BY_1).blend(r1, ODD_1);
            FloatVector a2 = r2.blend(r3.rearrange(BY_1), ODD_1);
            FloatVector a3 = r2.rearrange(BY_1).blend(r3, ODD_1);
            // b_j: k = j in its lower half and k = j + 4 in its upper.
            FloatVector b0 = a0.blend(a2.rearrange(BY_2), ODD_2);
            FloatVector b2 = a0.rearrange(BY_2).blend(a2, ODD_2);
            FloatVector b1 = a1.blend(a3.rearrange(BY_2), ODD_2);
            FloatVector b3 = a1.rearrange(BY_2).blend(a3, ODD_2);
            int to = at + 4 * k;
            b0.blend(b1.rearrange(BY_4), ODD_4).intoArray(panel, to);
            b2.blend(b3.rearrange(BY_4), ODD_4).intoArray(panel, to + 8);
            b0.rearrange(BY_4).blend(b1, ODD_4).intoArray(panel, to + 16);
            b2.rearrange(BY_4).blend(b3, ODD_4).intoArray(panel, to + 24);
        }
    }

    /// Panels side by side: `dst[from + (k * count + q) * width + i] = panels[(q * n + k) * width +
    /// i]`.
    ///
    /// @param width a multiple of every CPU's vectors
    static void join(MemorySegment dst, long from, float[] panels, int width, int count, int n) {
        for (int k = 0; k < n; k++) {
            long row = from + (long) k * count * width;
            for (int q = 0; q < count; q++) {
                int at = (q * n + k) * width;
                for (int i = 0; i < width; i += N) {
                    FloatVector.fromArray(F, panels, at + i)
                            .intoMemorySegment(dst, 4 * (row + q * width + i), LITTLE_ENDIAN);
                }
            }
        }
    }

    /// Panels `q` of `width` rows each, from the columns of F32 rows: `panel[at + q * distance + k
    /// * width + i] = src[from + k * stride + q * width + i]`, columns past `count` zero.
    static void copy(
            float[] panel,
            int at,
            int width,
            int distance,
            MemorySegment src,
            long from,
            long stride,
            int count,
            int n) {
        int whole = count / width * width;
        for (int k = 0; k < n; k++) {
            long row = 4 * (from + k * stride);
            int to = at + k * width;
            if (width == 4) {
                to = copy(FloatVector.SPECIES_128, panel, to, distance, src, row, whole);
            } else if (width < N) {
                to = copy(FloatVector.SPECIES_256, panel, to, distance, src, row, whole);
            } else {
                for (int i = 0; i < whole; i += width) {
                    for (int j = 0; j < width; j += N) {
                        FloatVector.fromMemorySegment(F, src, row + 4L * (i + j), LITTLE_ENDIAN)
                                .intoArray(panel, to + j);
                    }
                    to += distance;
                }
            }
            if (whole < count) {
                for (int i = 0; i < width; i++) {
                    panel[to + i] =
                            whole + i < count ? src.get(Lanes.F32, row + 4L * (whole + i)) : 0;
                }
            }
        }
    }

    /// One row of panels that are as wide as a vector of the species.
    ///
    /// @return where the next panel's row is
    private static int copy(
            VectorSpecies<Float> species,
            float[] panel,
            int at,
            int distance,
            MemorySegment src,
            long row,
            int whole) {
        int to = at;
        for (int i = 0; i < whole; i += species.length()) {
            FloatVector.fromMemorySegment(species, src, row + 4L * i, LITTLE_ENDIAN)
                    .intoArray(panel, to);
            to += distance;
        }
        return to;
    }
}
