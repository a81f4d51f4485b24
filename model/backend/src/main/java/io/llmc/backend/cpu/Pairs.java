// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Codes of four bits, two in each octet: a vector of octets has the first codes of pairs in its
/// lower halves, and the second ones in its upper halves.
final class Pairs {
    /// From where the numbers of a vector come, of those of even and those of odd places.
    private static final int[] LOW = new int[N];

    private static final int[] HIGH = new int[N];

    static {
        for (int i = 0; i < N; i++) {
            LOW[i] = i % 2 * N + i / 2;
            HIGH[i] = LOW[i] + N / 2;
        }
    }

    private Pairs() {}

    /// The first numbers of pairs, then the second ones, as codes lie in octets.
    ///
    /// @param width floats of x: whole steps
    static MemorySegment arranged(MemorySegment x, int width, Scratch shared) {
        MemorySegment to = shared.bytes(1, 4L * width);
        for (int i = 0; i < width; i++) {
            int place = i % (2 * N);
            long at = (long) i - place + place % 2 * N + place / 2;
            to.set(Lanes.F32, 4 * at, x.get(Lanes.F32, 4L * i));
        }
        return to;
    }

    /// `x[at, at + n)` = a row likewise, of the second ones of pairs what is left of them when an
    /// octet is multiplied with the first one: `a * x + b * y = (a + 16 b) * x + b * (y - 16 x)`.
    static void arrange(float[] x, int at, float[] row, int n) {
        for (int from = 0; from < n; from += 2 * N) {
            int to = at + from;
            for (int i = 0; i < N; i++) {
                float first = row[from + 2 * i];
                x[to + i] = first;
                x[to + N + i] = row[from + 2 * i + 1] - 16 * first;
            }
        }
    }

    /// Of sums of the first and the second codes of pairs, those of codes in their order, added up.
    static void order(float[] sums, int count) {
        IntVector low = IntVector.fromArray(I, LOW, 0);
        IntVector high = IntVector.fromArray(I, HIGH, 0);
        for (int j = 0; j < count; j++) {
            IntVector a = FloatVector.fromArray(F, sums, 4 * N * j).reinterpretAsInts();
            IntVector b = FloatVector.fromArray(F, sums, 4 * N * j + N).reinterpretAsInts();
            IntVector c = FloatVector.fromArray(F, sums, 4 * N * j + 2 * N).reinterpretAsInts();
            IntVector d = FloatVector.fromArray(F, sums, 4 * N * j + 3 * N).reinterpretAsInts();
            low.selectFrom(a, b)
                    .reinterpretAsFloats()
                    .add(high.selectFrom(a, b).reinterpretAsFloats())
                    .add(
                            low.selectFrom(c, d)
                                    .reinterpretAsFloats()
                                    .add(high.selectFrom(c, d).reinterpretAsFloats()))
                    .intoArray(sums, j * N);
        }
    }
}
