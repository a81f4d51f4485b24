// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Dots.STEP;
import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;
import static jdk.incubator.vector.FloatVector.fromArray;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Products of rows of codes with one or two rows of x, for [AffineDots]. What is done once a step
/// counts as much as what is done for a vector, so a step has one scale, and zero points wait for
/// the end of a row; both ways have the same order of sums.
///
/// All is in arrays, indexed by integers: a row may have few steps, and what the compiler does
/// before a loop over addresses takes as long as some of them.
///
/// @param count rows of codes
/// @param codes in whole rows
/// @param k codes of a row
/// @param shift steps of a group, as a power of two
/// @param factors `[count][groups]`, with a vector of zeros behind them, as zero points have
/// @param zeros `[count][groups]`
/// @param x `[row][k]`
/// @param sums `[row][groups in whole vectors]`
/// @param vectors of row i of x and row j: `[i][j][N]`
@SuppressWarnings("ArrayRecordComponent") // never compared
record CodeDots(
        int count,
        byte[] codes,
        int k,
        int groups,
        int shift,
        float[] factors,
        float[] zeros,
        float[] x,
        float[] sums,
        float[] vectors) {

    /// Row i of x, two rows of codes at a time. The first codes of octets keep what stands above
    /// them, which x makes up for ([Pairs#arrange]).
    void nibbles(int i) {
        int steps = k / STEP;
        int from = i * k;
        int per = Math.ceilDiv(count, 2);
        for (int j = 0; j < per; j++) {
            int next = Math.min(j + per, count - 1);
            int g0 = j * groups;
            int g1 = next * groups;
            int w0 = j * steps * (STEP / 2);
            int w1 = next * steps * (STEP / 2);
            FloatVector s = FloatVector.zero(F);
            FloatVector t = FloatVector.zero(F);
            FloatVector a;
            FloatVector x0;
            FloatVector x1;
            FloatVector x2;
            FloatVector x3;
            IntVector u;
            IntVector v;
            for (int h = 0; h < steps; h++) {
                int q = from + STEP * h;
                int g = h >> shift;
                x0 = fromArray(F, x, q);
                x1 = fromArray(F, x, q + N);
                x2 = fromArray(F, x, q + 2 * N);
                x3 = fromArray(F, x, q + 3 * N);
                u =
                        ((IntVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, w0 + (STEP / 2) * h)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                v =
                        ((IntVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, w0 + (STEP / 2) * h + N)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
                a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
                a = ((FloatVector) v.convert(I2F, 0)).fma(x2, a);
                a = ((FloatVector) v.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
                s = a.fma(FloatVector.broadcast(F, factors[g0 + g]), s);
                u =
                        ((IntVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, w1 + (STEP / 2) * h)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                v =
                        ((IntVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, w1 + (STEP / 2) * h + N)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                a = ((FloatVector) u.convert(I2F, 0)).mul(x0);
                a = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).fma(x1, a);
                a = ((FloatVector) v.convert(I2F, 0)).fma(x2, a);
                a = ((FloatVector) v.lanewise(LSHR, 4).convert(I2F, 0)).fma(x3, a);
                t = a.fma(FloatVector.broadcast(F, factors[g1 + g]), t);
            }
            s.intoArray(vectors, (i * count + j) * N);
            t.intoArray(vectors, (i * count + next) * N);
        }
    }

    /// Row i of x and the next one.
    void nibblesTwice(int i) {
        int steps = k / STEP;
        int from = i * k;
        for (int j = 0; j < count; j++) {
            int g0 = j * groups;
            int w = j * steps * (STEP / 2);
            FloatVector s = FloatVector.zero(F);
            FloatVector t = FloatVector.zero(F);
            FloatVector a;
            FloatVector b;
            FloatVector d;
            IntVector u;
            for (int h = 0; h < steps; h++) {
                int q = from + STEP * h;
                int o = q + k;
                u =
                        ((IntVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, w + (STEP / 2) * h)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                d = (FloatVector) u.convert(I2F, 0);
                a = d.mul(fromArray(F, x, q));
                b = d.mul(fromArray(F, x, o));
                d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
                a = d.fma(fromArray(F, x, q + N), a);
                b = d.fma(fromArray(F, x, o + N), b);
                u =
                        ((IntVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, w + (STEP / 2) * h + N)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                d = (FloatVector) u.convert(I2F, 0);
                a = d.fma(fromArray(F, x, q + 2 * N), a);
                b = d.fma(fromArray(F, x, o + 2 * N), b);
                d = (FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0);
                a = d.fma(fromArray(F, x, q + 3 * N), a);
                b = d.fma(fromArray(F, x, o + 3 * N), b);
                d = FloatVector.broadcast(F, factors[g0 + (h >> shift)]);
                s = a.fma(d, s);
                t = b.fma(d, t);
            }
            s.intoArray(vectors, (i * count + j) * N);
            t.intoArray(vectors, ((i + 1) * count + j) * N);
        }
    }

    /// Row i of x, two rows of codes at a time.
    void octets(int i) {
        int steps = k / STEP;
        int from = i * k;
        int per = Math.ceilDiv(count, 2);
        for (int j = 0; j < per; j++) {
            int next = Math.min(j + per, count - 1);
            int g0 = j * groups;
            int g1 = next * groups;
            int w0 = j * steps * (STEP);
            int w1 = next * steps * (STEP);
            FloatVector s = FloatVector.zero(F);
            FloatVector t = FloatVector.zero(F);
            FloatVector a;
            FloatVector x0;
            FloatVector x1;
            FloatVector x2;
            FloatVector x3;
            for (int h = 0; h < steps; h++) {
                int q = from + STEP * h;
                int g = h >> shift;
                x0 = fromArray(F, x, q);
                x1 = fromArray(F, x, q + N);
                x2 = fromArray(F, x, q + 2 * N);
                x3 = fromArray(F, x, q + 3 * N);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w0 + STEP * h)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .mul(x0);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w0 + STEP * h + N)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .fma(x1, a);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w0 + STEP * h + 2 * N)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .fma(x2, a);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w0 + STEP * h + 3 * N)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .fma(x3, a);
                s = a.fma(FloatVector.broadcast(F, factors[g0 + g]), s);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w1 + STEP * h)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .mul(x0);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w1 + STEP * h + N)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .fma(x1, a);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w1 + STEP * h + 2 * N)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .fma(x2, a);
                a =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromArray(
                                                                        Lanes.OCTETS,
                                                                        codes,
                                                                        w1 + STEP * h + 3 * N)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .fma(x3, a);
                t = a.fma(FloatVector.broadcast(F, factors[g1 + g]), t);
            }
            s.intoArray(vectors, (i * count + j) * N);
            t.intoArray(vectors, (i * count + next) * N);
        }
    }

    /// Row i of x and the next one.
    void octetsTwice(int i) {
        int steps = k / STEP;
        int from = i * k;
        for (int j = 0; j < count; j++) {
            int g0 = j * groups;
            int w = j * steps * (STEP);
            FloatVector s = FloatVector.zero(F);
            FloatVector t = FloatVector.zero(F);
            FloatVector a;
            FloatVector b;
            FloatVector d;
            for (int h = 0; h < steps; h++) {
                int q = from + STEP * h;
                int o = q + k;
                d =
                        (FloatVector)
                                ((IntVector)
                                                ByteVector.fromArray(
                                                                Lanes.OCTETS, codes, w + STEP * h)
                                                        .convertShape(ZERO_EXTEND_B2I, I, 0))
                                        .convert(I2F, 0);
                a = d.mul(fromArray(F, x, q));
                b = d.mul(fromArray(F, x, o));
                d =
                        (FloatVector)
                                ((IntVector)
                                                ByteVector.fromArray(
                                                                Lanes.OCTETS,
                                                                codes,
                                                                w + STEP * h + N)
                                                        .convertShape(ZERO_EXTEND_B2I, I, 0))
                                        .convert(I2F, 0);
                a = d.fma(fromArray(F, x, q + N), a);
                b = d.fma(fromArray(F, x, o + N), b);
                d =
                        (FloatVector)
                                ((IntVector)
                                                ByteVector.fromArray(
                                                                Lanes.OCTETS,
                                                                codes,
                                                                w + STEP * h + 2 * N)
                                                        .convertShape(ZERO_EXTEND_B2I, I, 0))
                                        .convert(I2F, 0);
                a = d.fma(fromArray(F, x, q + 2 * N), a);
                b = d.fma(fromArray(F, x, o + 2 * N), b);
                d =
                        (FloatVector)
                                ((IntVector)
                                                ByteVector.fromArray(
                                                                Lanes.OCTETS,
                                                                codes,
                                                                w + STEP * h + 3 * N)
                                                        .convertShape(ZERO_EXTEND_B2I, I, 0))
                                        .convert(I2F, 0);
                a = d.fma(fromArray(F, x, q + 3 * N), a);
                b = d.fma(fromArray(F, x, o + 3 * N), b);
                d = FloatVector.broadcast(F, factors[g0 + (h >> shift)]);
                s = a.fma(d, s);
                t = b.fma(d, t);
            }
            s.intoArray(vectors, (i * count + j) * N);
            t.intoArray(vectors, ((i + 1) * count + j) * N);
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
