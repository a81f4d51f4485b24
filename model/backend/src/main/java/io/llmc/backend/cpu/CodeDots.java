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
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Products of rows of codes with one or two rows of x, for [AffineDots]. What is done once a step
/// counts as much as what is done for a vector, so a group's scale comes to the sum of a step, and
/// zero points wait for the end of a row; both ways have the same order of sums.
///
/// One loop goes over the steps of all rows of a tile, and a row ends within it: a row may have few
/// steps, and what the compiler does before a loop over addresses takes as long as some of them.
/// Parts of the tile are read at the same time, four with one row of x and two with two: a core
/// reads ahead in each of them, and x is read once for all. Rows that are left over are in two
/// parts, and multiplied twice.
///
/// @param count rows of codes
/// @param codes address of whole rows
/// @param k codes of a row
/// @param groups scales of a row
/// @param places the group of each half step of a row, from 0 on
/// @param factors `[count][groups]`, with a vector of zeros behind them, as zero points have
/// @param parts those of four parts of the rows, `[4][PART]`: from one index, since a loop with
///   four has no register left for each
/// @param zeros `[count][groups]`; null where one is that of all, and is in the sums
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
        float[] parts,
        float[] zeros,
        float[] x,
        float[] sums,
        float[] vectors) {
    /// From one part's factors to the next one's; not a power of two, whose multiples would lie in
    /// the same places of a cache.
    static final int PART = (1 << 13) + 64;

    /// The words of a step's second half. Methods have it in a local, since the mask of a constant
    /// would be made anew in each turn of a loop.
    private static VectorMask<Float> upper() {
        return FloatVector.zero(F).addIndex(1).compare(VectorOperators.GE, N / 2f);
    }

    /// `x[at, at + n)` = a row as octets lie in words: of each step the first ones of words, the
    /// second ones and so on, N of each.
    static void words(float[] x, int at, float[] row, int n) {
        for (int from = 0; from < n; from += STEP) {
            int to = at + from;
            for (int i = 0; i < N; i++) {
                x[to + i] = row[from + 4 * i];
                x[to + N + i] = row[from + 4 * i + 1];
                x[to + 2 * N + i] = row[from + 4 * i + 2];
                x[to + 3 * N + i] = row[from + 4 * i + 3];
            }
        }
    }

    /// Row i of x. The first codes of octets keep what stands above them, which x makes up for
    /// ([Pairs#arrange]).
    void nibbles(int i) {
        int[] places = this.places;
        float[] x = this.x;
        float[] parts = this.parts;
        int steps = k / STEP;
        int per = Math.ceilDiv(count, 4);
        int j1 = Math.min(per, count - per);
        int j2 = Math.min(2 * per, count - per);
        int j3 = Math.min(3 * per, count - per);
        int from = i * k;
        int h = 0;
        int g = 0;
        int to = i * count * N;
        long far1 = (long) j1 * (k / 2);
        long far2 = (long) j2 * (k / 2);
        long far3 = (long) j3 * (k / 2);
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        FloatVector a;
        FloatVector x0;
        FloatVector x1;
        FloatVector x2;
        FloatVector x3;
        IntVector u;
        for (int n = 0; n < per * steps; n++) {
            long w = codes + (long) n * (STEP / 2);
            int q = from + STEP * h;
            int p = g + places[2 * h];
            int r = g + places[2 * h + 1];
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
            s0 = a.fma(FloatVector.broadcast(F, parts[p]), s0);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x2);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
            s0 = a.fma(FloatVector.broadcast(F, parts[r]), s0);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far1, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
            s1 = a.fma(FloatVector.broadcast(F, parts[p + PART]), s1);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far1 + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x2);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
            s1 = a.fma(FloatVector.broadcast(F, parts[r + PART]), s1);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far2, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
            s2 = a.fma(FloatVector.broadcast(F, parts[p + 2 * PART]), s2);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far2 + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x2);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
            s2 = a.fma(FloatVector.broadcast(F, parts[r + 2 * PART]), s2);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far3, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
            s3 = a.fma(FloatVector.broadcast(F, parts[p + 3 * PART]), s3);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far3 + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            a = ((FloatVector) u.convert(I2F, 0)).mul(x2);
            a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
            s3 = a.fma(FloatVector.broadcast(F, parts[r + 3 * PART]), s3);
            if (++h == steps) {
                s0.intoArray(vectors, to);
                s1.intoArray(vectors, to + j1 * N);
                s2.intoArray(vectors, to + j2 * N);
                s3.intoArray(vectors, to + j3 * N);
                s0 = FloatVector.zero(F);
                s1 = FloatVector.zero(F);
                s2 = FloatVector.zero(F);
                s3 = FloatVector.zero(F);
                to += N;
                h = 0;
                g += groups;
            }
        }
    }

    /// Row i of x and the next one.
    void nibblesTwice(int i) {
        int[] places = this.places;
        float[] x = this.x;
        float[] factors = this.factors;
        int steps = k / STEP;
        int per = Math.ceilDiv(count, 2);
        int j1 = Math.min(per, count - per);
        int from = i * k;
        int h = 0;
        int g0 = 0;
        int g1 = j1 * groups;
        int to = i * count * N;
        long far1 = (long) j1 * (k / 2);
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector t0 = FloatVector.zero(F);
        FloatVector t1 = FloatVector.zero(F);
        FloatVector a;
        FloatVector b;
        FloatVector d;
        FloatVector x0;
        FloatVector x1;
        FloatVector x2;
        FloatVector x3;
        FloatVector y0;
        FloatVector y1;
        FloatVector y2;
        FloatVector y3;
        IntVector u;
        for (int n = 0; n < per * steps; n++) {
            long w = codes + (long) n * (STEP / 2);
            int q = from + STEP * h;
            int o = q + k;
            int p = places[2 * h];
            int r = places[2 * h + 1];
            x0 = fromArray(F, x, q);
            x1 = fromArray(F, x, q + N);
            x2 = fromArray(F, x, q + 2 * N);
            x3 = fromArray(F, x, q + 3 * N);
            y0 = fromArray(F, x, o);
            y1 = fromArray(F, x, o + N);
            y2 = fromArray(F, x, o + 2 * N);
            y3 = fromArray(F, x, o + 3 * N);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            d = (FloatVector) u.convert(I2F, 0);
            a = d.mul(x0);
            b = d.mul(y0);
            d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
            a = d.fma(x1, a);
            b = d.fma(y1, b);
            d = FloatVector.broadcast(F, factors[g0 + p]);
            s0 = a.fma(d, s0);
            t0 = b.fma(d, t0);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, w + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            d = (FloatVector) u.convert(I2F, 0);
            a = d.mul(x2);
            b = d.mul(y2);
            d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
            a = d.fma(x3, a);
            b = d.fma(y3, b);
            d = FloatVector.broadcast(F, factors[g0 + r]);
            s0 = a.fma(d, s0);
            t0 = b.fma(d, t0);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far1, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            d = (FloatVector) u.convert(I2F, 0);
            a = d.mul(x0);
            b = d.mul(y0);
            d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
            a = d.fma(x1, a);
            b = d.fma(y1, b);
            d = FloatVector.broadcast(F, factors[g1 + p]);
            s1 = a.fma(d, s1);
            t1 = b.fma(d, t1);
            u =
                    ((IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, MEMORY, w + far1 + N, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0));
            d = (FloatVector) u.convert(I2F, 0);
            a = d.mul(x2);
            b = d.mul(y2);
            d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
            a = d.fma(x3, a);
            b = d.fma(y3, b);
            d = FloatVector.broadcast(F, factors[g1 + r]);
            s1 = a.fma(d, s1);
            t1 = b.fma(d, t1);
            if (++h == steps) {
                s0.intoArray(vectors, to);
                s1.intoArray(vectors, to + j1 * N);
                t0.intoArray(vectors, to + count * N);
                t1.intoArray(vectors, to + (count + j1) * N);
                s0 = FloatVector.zero(F);
                s1 = FloatVector.zero(F);
                t0 = FloatVector.zero(F);
                t1 = FloatVector.zero(F);
                to += N;
                h = 0;
                g0 += groups;
                g1 += groups;
            }
        }
    }

    /// Row i of x, four codes in each word ([#words]).
    void octets(int i) {
        VectorMask<Float> upper = upper();
        int[] places = this.places;
        float[] x = this.x;
        float[] parts = this.parts;
        int steps = k / STEP;
        int per = Math.ceilDiv(count, 4);
        int j1 = Math.min(per, count - per);
        int j2 = Math.min(2 * per, count - per);
        int j3 = Math.min(3 * per, count - per);
        int from = i * k;
        int h = 0;
        int g = 0;
        int to = i * count * N;
        long far1 = (long) j1 * k;
        long far2 = (long) j2 * k;
        long far3 = (long) j3 * k;
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector s2 = FloatVector.zero(F);
        FloatVector s3 = FloatVector.zero(F);
        FloatVector a;
        FloatVector x0;
        FloatVector x1;
        FloatVector x2;
        FloatVector x3;
        IntVector u;
        for (int n = 0; n < per * steps; n++) {
            long w = codes + (long) n * STEP;
            int q = from + STEP * h;
            int p = g + places[2 * h];
            int r = g + places[2 * h + 1];
            x0 = fromArray(F, x, q);
            x1 = fromArray(F, x, q + N);
            x2 = fromArray(F, x, q + 2 * N);
            x3 = fromArray(F, x, q + 3 * N);
            u = IntVector.fromMemorySegment(I, MEMORY, w, LITTLE_ENDIAN);
            a = ((FloatVector) u.and(255).convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0)).fma(x1, a);
            a = ((FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0)).fma(x2, a);
            a = ((FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0)).fma(x3, a);
            s0 = a.fma(FloatVector.broadcast(F, parts[p]).blend(parts[r], upper), s0);
            u = IntVector.fromMemorySegment(I, MEMORY, w + far1, LITTLE_ENDIAN);
            a = ((FloatVector) u.and(255).convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0)).fma(x1, a);
            a = ((FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0)).fma(x2, a);
            a = ((FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0)).fma(x3, a);
            s1 = a.fma(FloatVector.broadcast(F, parts[p + PART]).blend(parts[r + PART], upper), s1);
            u = IntVector.fromMemorySegment(I, MEMORY, w + far2, LITTLE_ENDIAN);
            a = ((FloatVector) u.and(255).convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0)).fma(x1, a);
            a = ((FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0)).fma(x2, a);
            a = ((FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0)).fma(x3, a);
            s2 =
                    a.fma(
                            FloatVector.broadcast(F, parts[p + 2 * PART])
                                    .blend(parts[r + 2 * PART], upper),
                            s2);
            u = IntVector.fromMemorySegment(I, MEMORY, w + far3, LITTLE_ENDIAN);
            a = ((FloatVector) u.and(255).convert(I2F, 0)).mul(x0);
            a = ((FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0)).fma(x1, a);
            a = ((FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0)).fma(x2, a);
            a = ((FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0)).fma(x3, a);
            s3 =
                    a.fma(
                            FloatVector.broadcast(F, parts[p + 3 * PART])
                                    .blend(parts[r + 3 * PART], upper),
                            s3);
            if (++h == steps) {
                s0.intoArray(vectors, to);
                s1.intoArray(vectors, to + j1 * N);
                s2.intoArray(vectors, to + j2 * N);
                s3.intoArray(vectors, to + j3 * N);
                s0 = FloatVector.zero(F);
                s1 = FloatVector.zero(F);
                s2 = FloatVector.zero(F);
                s3 = FloatVector.zero(F);
                to += N;
                h = 0;
                g += groups;
            }
        }
    }

    /// Row i of x and the next one.
    void octetsTwice(int i) {
        VectorMask<Float> upper = upper();
        int[] places = this.places;
        float[] x = this.x;
        float[] factors = this.factors;
        int steps = k / STEP;
        int per = Math.ceilDiv(count, 2);
        int j1 = Math.min(per, count - per);
        int from = i * k;
        int h = 0;
        int g0 = 0;
        int g1 = j1 * groups;
        int to = i * count * N;
        long far1 = (long) j1 * k;
        FloatVector s0 = FloatVector.zero(F);
        FloatVector s1 = FloatVector.zero(F);
        FloatVector t0 = FloatVector.zero(F);
        FloatVector t1 = FloatVector.zero(F);
        FloatVector a;
        FloatVector b;
        FloatVector d;
        FloatVector x0;
        FloatVector x1;
        FloatVector x2;
        FloatVector x3;
        FloatVector y0;
        FloatVector y1;
        FloatVector y2;
        FloatVector y3;
        IntVector u;
        for (int n = 0; n < per * steps; n++) {
            long w = codes + (long) n * STEP;
            int q = from + STEP * h;
            int o = q + k;
            int p = places[2 * h];
            int r = places[2 * h + 1];
            x0 = fromArray(F, x, q);
            x1 = fromArray(F, x, q + N);
            x2 = fromArray(F, x, q + 2 * N);
            x3 = fromArray(F, x, q + 3 * N);
            y0 = fromArray(F, x, o);
            y1 = fromArray(F, x, o + N);
            y2 = fromArray(F, x, o + 2 * N);
            y3 = fromArray(F, x, o + 3 * N);
            u = IntVector.fromMemorySegment(I, MEMORY, w, LITTLE_ENDIAN);
            d = (FloatVector) u.and(255).convert(I2F, 0);
            a = d.mul(x0);
            b = d.mul(y0);
            d = (FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0);
            a = d.fma(x1, a);
            b = d.fma(y1, b);
            d = (FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0);
            a = d.fma(x2, a);
            b = d.fma(y2, b);
            d = (FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0);
            a = d.fma(x3, a);
            b = d.fma(y3, b);
            d = FloatVector.broadcast(F, factors[g0 + p]).blend(factors[g0 + r], upper);
            s0 = a.fma(d, s0);
            t0 = b.fma(d, t0);
            u = IntVector.fromMemorySegment(I, MEMORY, w + far1, LITTLE_ENDIAN);
            d = (FloatVector) u.and(255).convert(I2F, 0);
            a = d.mul(x0);
            b = d.mul(y0);
            d = (FloatVector) u.lanewise(LSHR, 8).and(255).convert(I2F, 0);
            a = d.fma(x1, a);
            b = d.fma(y1, b);
            d = (FloatVector) u.lanewise(LSHR, 16).and(255).convert(I2F, 0);
            a = d.fma(x2, a);
            b = d.fma(y2, b);
            d = (FloatVector) u.lanewise(LSHR, 24).convert(I2F, 0);
            a = d.fma(x3, a);
            b = d.fma(y3, b);
            d = FloatVector.broadcast(F, factors[g1 + p]).blend(factors[g1 + r], upper);
            s1 = a.fma(d, s1);
            t1 = b.fma(d, t1);
            if (++h == steps) {
                s0.intoArray(vectors, to);
                s1.intoArray(vectors, to + j1 * N);
                t0.intoArray(vectors, to + count * N);
                t1.intoArray(vectors, to + (count + j1) * N);
                s0 = FloatVector.zero(F);
                s1 = FloatVector.zero(F);
                t0 = FloatVector.zero(F);
                t1 = FloatVector.zero(F);
                to += N;
                h = 0;
                g0 += groups;
                g1 += groups;
            }
        }
    }

    /// The factors of four parts of rows of codes.
    static float[] parts(float[] factors, int count, int groups, Scratch scratch) {
        float[] parts = scratch.floats(11, 4 * PART);
        int per = Math.ceilDiv(count, 4);
        for (int p = 0; p < 4; p++) {
            int from = Math.min(p * per, count - per);
            System.arraycopy(factors, from * groups, parts, p * PART, per * groups);
        }
        return parts;
    }

    /// Takes off of row i of x what zero points add to it: products of a group's scale, its zero
    /// point and its sum of x.
    void offsets(int i) {
        int to = i * Lanes.padded(groups);
        for (int j = 0; j < count; j++) {
            int from = j * groups;
            FloatVector s = fromArray(F, vectors, (i * count + j) * N);
            for (int g = 0; g < groups; g += N) {
                FloatVector f = fromArray(F, factors, from + g);
                if (zeros != null) {
                    f = f.mul(fromArray(F, zeros, from + g));
                }
                s = f.fma(fromArray(F, sums, to + g), s);
            }
            s.intoArray(vectors, (i * count + j) * N);
        }
    }
}
