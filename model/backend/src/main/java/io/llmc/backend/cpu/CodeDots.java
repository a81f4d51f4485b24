// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Dots.STEP;
import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromArray;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Products of rows of codes with one or two rows of x, for [AffineDots]. What is done once a step
/// counts as much as what is done for a vector, so a group's scale comes to the sum of a step, and
/// zero points wait for the end of a row; both ways have the same order of sums.
///
/// One loop goes over the steps of all rows of a tile, and a row ends within it: a row may have few
/// steps, and what the compiler does before a loop over addresses takes as long as some of them.
/// With one row of x, two halves of the tile are read at a time; of an odd number of rows the one
/// in the middle is multiplied twice.
///
/// @param count rows of codes
/// @param codes address of whole rows
/// @param k codes of a row
/// @param groups scales of a row
/// @param places the group of each half step of a row, from 0 on
/// @param factors `[count][groups]`, with a vector of zeros behind them, as zero points have
/// @param zeros `[count][groups]`
/// @param x `[row][k]`, arranged as codes lie: by [Pairs], or by [#words]
/// @param sums `[row][groups in whole vectors]`
/// @param vectors of row i of x and row j: `[i][j][N]`
@SuppressWarnings("ArrayRecordComponent") // never compared
record CodeDots(
        int count,
        long codes,
        int k,
        int groups,
        int[] places,
        float[] factors,
        float[] zeros,
        float[] x,
        float[] sums,
        float[] vectors) {
    /// Arranges `n` numbers as octets lie in words: the first ones of words, the second ones and so
    /// on, N of each.
    static void words(float[] x, int n, Scratch shared) {
        float[] step = shared.floats(3, STEP);
        for (int at = 0; at < n; at += STEP) {
            System.arraycopy(x, at, step, 0, STEP);
            for (int i = 0; i < STEP; i++) {
                x[at + i % 4 * N + i / 4] = step[i];
            }
        }
    }

    /// Row i of x. The first codes of octets keep what stands above them, which x makes up for
    /// ([Pairs#arrange]).
    void nibbles(int i) {
        int steps = k / STEP;
        int per = Math.ceilDiv(count, 2);
        int other = count - per;
        int from = i * k;
        int h = 0;
        int g0 = 0;
        int g1 = other * groups;
        int to = i * count * N;
        FloatVector s = FloatVector.zero(F);
        FloatVector t = FloatVector.zero(F);
        FloatVector a;
        FloatVector x0;
        FloatVector x1;
        FloatVector x2;
        FloatVector x3;
        IntVector u;
        long far = (long) other * (k / 2);
        for (int n = 0; n < per * steps; n++) {
            long w = codes + (long) n * (STEP / 2);
            int q = from + STEP * h;
            int p = places[2 * h];
            int r = places[2 * h + 1];
            x0 = fromArray(F, x, q);
            x1 = fromArray(F, x, q + N);
            x2 = fromArray(F, x, q + 2 * N);
            x3 = fromArray(F, x, q + 3 * N);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
            s = a.fma(FloatVector.broadcast(F, factors[g0 + p]), s);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x2);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
            s = a.fma(FloatVector.broadcast(F, factors[g0 + r]), s);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
            t = a.fma(FloatVector.broadcast(F, factors[g1 + p]), t);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x2);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
            t = a.fma(FloatVector.broadcast(F, factors[g1 + r]), t);
            if (++h == steps) {
                s.intoArray(vectors, to);
                t.intoArray(vectors, to + other * N);
                s = FloatVector.zero(F);
                t = FloatVector.zero(F);
                to += N;
                h = 0;
                g0 += groups;
                g1 += groups;
            }
        }
    }

    /// Row i of x and the next one.
    void nibblesTwice(int i) {
        int steps = k / STEP;
        int from = i * k;
        int h = 0;
        int g0 = 0;
        int to = i * count * N;
        FloatVector s = FloatVector.zero(F);
        FloatVector t = FloatVector.zero(F);
        FloatVector a;
        FloatVector b;
        FloatVector d;
        IntVector u;
        for (int n = 0; n < count * steps; n++) {
            long w = codes + (long) n * (STEP / 2);
            int q = from + STEP * h;
            int o = q + k;
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            d = (FloatVector) u.convert(I2F, 0);
            a = d.mul(fromArray(F, x, q));
            b = d.mul(fromArray(F, x, o));
            d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
            a = d.fma(fromArray(F, x, q + N), a);
            b = d.fma(fromArray(F, x, o + N), b);
            d = FloatVector.broadcast(F, factors[g0 + places[2 * h]]);
            s = a.fma(d, s);
            t = b.fma(d, t);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            d = (FloatVector) u.convert(I2F, 0);
            a = d.mul(fromArray(F, x, q + 2 * N));
            b = d.mul(fromArray(F, x, o + 2 * N));
            d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
            a = d.fma(fromArray(F, x, q + 3 * N), a);
            b = d.fma(fromArray(F, x, o + 3 * N), b);
            d = FloatVector.broadcast(F, factors[g0 + places[2 * h + 1]]);
            s = a.fma(d, s);
            t = b.fma(d, t);
            if (++h == steps) {
                s.intoArray(vectors, to);
                t.intoArray(vectors, to + count * N);
                s = FloatVector.zero(F);
                t = FloatVector.zero(F);
                to += N;
                h = 0;
                g0 += groups;
            }
        }
    }

    /// Row i of x, four codes in each word ([#words]).
    void octets(int i) {
        int steps = k / STEP;
        int per = Math.ceilDiv(count, 2);
        int other = count - per;
        int from = i * k;
        int h = 0;
        int g0 = 0;
        int g1 = other * groups;
        int to = i * count * N;
        FloatVector s = FloatVector.zero(F);
        FloatVector t = FloatVector.zero(F);
        FloatVector a;
        FloatVector x0;
        FloatVector x1;
        FloatVector x2;
        FloatVector x3;
        IntVector u;
        long far = (long) other * k;
        for (int n = 0; n < per * steps; n++) {
            long w = codes + (long) n * STEP;
            int q = from + STEP * h;
            int p = places[2 * h];
            x0 = fromArray(F, x, q);
            x1 = fromArray(F, x, q + N);
            x2 = fromArray(F, x, q + 2 * N);
            x3 = fromArray(F, x, q + 3 * N);
            u = IntVector.fromMemorySegment(I, MEMORY, w, LITTLE_ENDIAN);
            a = ((FloatVector) u.and(255).convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0)).fma(x1, a);
            a = ((FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0)).fma(x2, a);
            a = ((FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0)).fma(x3, a);
            s = a.fma(FloatVector.broadcast(F, factors[g0 + p]), s);
            u = IntVector.fromMemorySegment(I, MEMORY, w + far, LITTLE_ENDIAN);
            a = ((FloatVector) u.and(255).convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0)).fma(x1, a);
            a = ((FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0)).fma(x2, a);
            a = ((FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0)).fma(x3, a);
            t = a.fma(FloatVector.broadcast(F, factors[g1 + p]), t);
            if (++h == steps) {
                s.intoArray(vectors, to);
                t.intoArray(vectors, to + other * N);
                s = FloatVector.zero(F);
                t = FloatVector.zero(F);
                to += N;
                h = 0;
                g0 += groups;
                g1 += groups;
            }
        }
    }

    /// Row i of x and the next one.
    void octetsTwice(int i) {
        int steps = k / STEP;
        int from = i * k;
        int h = 0;
        int g0 = 0;
        int to = i * count * N;
        FloatVector s = FloatVector.zero(F);
        FloatVector t = FloatVector.zero(F);
        FloatVector a;
        FloatVector b;
        FloatVector d;
        IntVector u;
        for (int n = 0; n < count * steps; n++) {
            int q = from + STEP * h;
            int o = q + k;
            u = IntVector.fromMemorySegment(I, MEMORY, codes + (long) n * STEP, LITTLE_ENDIAN);
            d = (FloatVector) u.and(255).convert(I2F, 0);
            a = d.mul(fromArray(F, x, q));
            b = d.mul(fromArray(F, x, o));
            d = (FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0);
            a = d.fma(fromArray(F, x, q + N), a);
            b = d.fma(fromArray(F, x, o + N), b);
            d = (FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0);
            a = d.fma(fromArray(F, x, q + 2 * N), a);
            b = d.fma(fromArray(F, x, o + 2 * N), b);
            d = (FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0);
            a = d.fma(fromArray(F, x, q + 3 * N), a);
            b = d.fma(fromArray(F, x, o + 3 * N), b);
            d = FloatVector.broadcast(F, factors[g0 + places[2 * h]]);
            s = a.fma(d, s);
            t = b.fma(d, t);
            if (++h == steps) {
                s.intoArray(vectors, to);
                t.intoArray(vectors, to + count * N);
                s = FloatVector.zero(F);
                t = FloatVector.zero(F);
                to += N;
                h = 0;
                g0 += groups;
            }
        }
    }

    /// Takes off of row i of x what zero points add to it: products of a group's scale, its zero
    /// point and its sum of x.
    void offsets(int i) {
        int to = i * Lanes.padded(groups);
        for (int j = 0; j < count; j++) {
            int from = j * groups;
            FloatVector s = fromArray(F, vectors, (i * count + j) * N);
            for (int g = 0; g < groups; g += N) {
                s =
                        fromArray(F, factors, from + g)
                                .mul(fromArray(F, zeros, from + g))
                                .fma(fromArray(F, sums, to + g), s);
            }
            s.intoArray(vectors, (i * count + j) * N);
        }
    }
}
