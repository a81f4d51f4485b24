// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Of any weight: a row becomes floats in the first cache, and is multiplied from there.
///
/// @param block of x
record DecodedDots(Operand w, int k, int block) implements Dots {
    @Override
    public long rowBytes() {
        return 2L * k;
    }

    @Override
    public void run(float[] sums, long first, int count, Rows x, Scratch scratch) {
        run(sums, first, 0, count, x, scratch);
    }

    /// Of rows `[first + from, first + count)`.
    void run(float[] sums, long first, int from, int count, Rows x, Scratch scratch) {
        if (from == count) {
            return;
        }
        float[] row = scratch.floats(6, x.width());
        int rest = k % block;
        int behind = rest == 0 ? 0 : block;
        for (int i = rest; i < behind; i++) {
            row[i] = 0;
        }
        float[] vector = scratch.floats(7, N);
        for (int j = from; j < count; j++) {
            if (rest > 0) {
                w.read(row, 0, first + j, 0, rest, scratch);
            }
            w.read(row, behind, first + j, rest, k - rest, scratch);
            for (int i = 0; i < x.count(); i++) {
                dot(vector, row, x.bytes(), x.from(i), x.width());
                Dots.fold(sums, i * count + j, vector, 1);
            }
        }
    }

    private static void dot(float[] sum, float[] w, MemorySegment x, long from, int n) {
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        FloatVector c = a;
        FloatVector d = a;
        for (int i = 0; i < n; i += STEP) {
            long at = from + 4L * i;
            a =
                    FloatVector.fromArray(F, w, i)
                            .fma(FloatVector.fromMemorySegment(F, x, at, LITTLE_ENDIAN), a);
            b =
                    FloatVector.fromArray(F, w, i + N)
                            .fma(FloatVector.fromMemorySegment(F, x, at + 4 * N, LITTLE_ENDIAN), b);
            c =
                    FloatVector.fromArray(F, w, i + 2 * N)
                            .fma(FloatVector.fromMemorySegment(F, x, at + 8 * N, LITTLE_ENDIAN), c);
            d =
                    FloatVector.fromArray(F, w, i + 3 * N)
                            .fma(
                                    FloatVector.fromMemorySegment(F, x, at + 12 * N, LITTLE_ENDIAN),
                                    d);
        }
        a.add(b).add(c.add(d)).intoArray(sum, 0);
    }
}
