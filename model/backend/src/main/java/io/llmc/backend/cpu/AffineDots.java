// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromMemorySegment;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Of integers of eight bits, and of four where vectors have eight lanes, in groups of whole steps:
/// what a code stands for is computed in registers ([GroupFactors]).
final class AffineDots implements Dots {
    private final MemorySegment codes;
    private final GroupFactors factors;
    private final DecodedDots decoded;
    private final boolean nibbles;
    private final int groups;
    private final int k;
    private final long pitch;

    /// Steps of a row, and of a group.
    private final int steps;

    private final int width;

    private AffineDots(Weight.Grouped w) {
        codes = w.codes().bytes();
        factors = new GroupFactors(w);
        decoded = new DecodedDots(Operand.of(w), Math.toIntExact(w.inFeatures()));
        nibbles = w.grid().codes().bits() == 4;
        groups = Math.toIntExact(w.scales().cols());
        k = Math.toIntExact(w.inFeatures());
        pitch = nibbles ? k / 2 : k;
        steps = k / STEP;
        width = Math.toIntExact(w.grid().tiles().width(k)) / STEP;
    }

    /// Null for those that this does not multiply.
    static AffineDots of(Weight.Grouped w) {
        int bits = w.grid().codes().bits();
        return (bits == 4 && N == 8 || bits == 8 && N >= 8)
                        && w.groupIndex() == null
                        && w.inFeatures() % STEP == 0
                        && w.grid().tiles().width(w.inFeatures()) % STEP == 0
                        && GroupFactors.fits(w)
                ? new AffineDots(w)
                : null;
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public MemorySegment arranged(MemorySegment x, int width, Scratch shared) {
        return nibbles ? Pairs.arranged(x, width, shared) : x;
    }

    @Override
    public boolean multiply(
            float[] vectors, long first, int count, MemorySegment x, Scratch scratch) {
        int all = Lanes.padded((long) count * groups);
        float[] a = scratch.floats(8, all);
        float[] b = scratch.floats(9, all);
        float[] z = scratch.floats(10, all);
        if (!factors.prepare(a, b, z, first * groups, count * groups, scratch)) {
            return false;
        }
        long from = codes(first * pitch, count * pitch, scratch);
        if (nibbles) {
            nibbles(vectors, count, from, a, b, z, x.address());
            Pairs.order(vectors, count);
        } else {
            octets(vectors, count, from, a, b, z, x.address());
        }
        return true;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        int all = Lanes.padded(groups);
        float[] a = scratch.floats(8, all);
        float[] b = scratch.floats(9, all);
        float[] z = scratch.floats(10, all);
        for (int j = 0; j < rows.count(); j++) {
            long row = rows.get(j);
            if (!factors.prepare(a, b, z, row * groups, groups, scratch)) {
                decoded.decode(panel, width, rows, scratch);
                return;
            }
            long from = codes(row * pitch, pitch, scratch);
            long to = panel.address() + 4L * j * width;
            if (nibbles) {
                nibbleValues(to, from, a, b, z);
            } else {
                octetValues(to, from, a, b, z);
            }
        }
    }

    /// The address of some codes, or of a copy: out of a file before anything is loaded as a vector
    /// (see Lanes.read).
    private long codes(long from, long size, Scratch scratch) {
        if (!codes.isMapped()) {
            return codes.address() + from;
        }
        MemorySegment copy = scratch.bytes(1, size);
        MemorySegment.copy(codes, from, copy, 0, size);
        return copy.address();
    }

    /// @param x [Pairs#arranged]
    private void nibbles(
            float[] sums, int count, long from, float[] a, float[] b, float[] z, long x) {
        for (int j = 0; j < count; j++) {
            FloatVector s0 = FloatVector.zero(F);
            FloatVector s1 = FloatVector.zero(F);
            FloatVector s2 = FloatVector.zero(F);
            FloatVector s3 = FloatVector.zero(F);
            FloatVector d;
            IntVector u;
            long w = from + j * pitch;
            int group = j * groups;
            int left = width;
            for (int i = 0; i < steps; i++) {
                long p = w + (long) (STEP / 2) * i;
                long q = x + 4L * STEP * i;
                FloatVector zero = FloatVector.broadcast(F, z[group]);
                FloatVector one = FloatVector.broadcast(F, a[group]);
                FloatVector two = FloatVector.broadcast(F, b[group]);
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, p, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                d = ((FloatVector) u.and(15).convert(I2F, 0)).sub(zero);
                s0 = d.fma(two, d.mul(one)).fma(fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN), s0);
                d = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).sub(zero);
                s1 =
                        d.fma(two, d.mul(one))
                                .fma(fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN), s1);
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS, MEMORY, p + N, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                d = ((FloatVector) u.and(15).convert(I2F, 0)).sub(zero);
                s2 =
                        d.fma(two, d.mul(one))
                                .fma(fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN), s2);
                d = ((FloatVector) u.lanewise(LSHR, 4).convert(I2F, 0)).sub(zero);
                s3 =
                        d.fma(two, d.mul(one))
                                .fma(fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN), s3);
                left--;
                group += left == 0 ? 1 : 0;
                left = left == 0 ? width : left;
            }
            s0.intoArray(sums, 4 * N * j);
            s1.intoArray(sums, 4 * N * j + N);
            s2.intoArray(sums, 4 * N * j + 2 * N);
            s3.intoArray(sums, 4 * N * j + 3 * N);
        }
    }

    private void octets(
            float[] sums, int count, long from, float[] a, float[] b, float[] z, long x) {
        for (int j = 0; j < count; j++) {
            FloatVector s0 = FloatVector.zero(F);
            FloatVector s1 = FloatVector.zero(F);
            FloatVector s2 = FloatVector.zero(F);
            FloatVector s3 = FloatVector.zero(F);
            FloatVector d;
            long w = from + j * pitch;
            int group = j * groups;
            int left = width;
            for (int i = 0; i < steps; i++) {
                long p = w + (long) STEP * i;
                long q = x + 4L * STEP * i;
                FloatVector zero = FloatVector.broadcast(F, z[group]);
                FloatVector one = FloatVector.broadcast(F, a[group]);
                FloatVector two = FloatVector.broadcast(F, b[group]);
                d =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromMemorySegment(
                                                                        Lanes.OCTETS,
                                                                        MEMORY,
                                                                        p,
                                                                        LITTLE_ENDIAN)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .sub(zero);
                s0 = d.fma(two, d.mul(one)).fma(fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN), s0);
                d =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromMemorySegment(
                                                                        Lanes.OCTETS,
                                                                        MEMORY,
                                                                        p + N,
                                                                        LITTLE_ENDIAN)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .sub(zero);
                s1 =
                        d.fma(two, d.mul(one))
                                .fma(fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN), s1);
                d =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromMemorySegment(
                                                                        Lanes.OCTETS,
                                                                        MEMORY,
                                                                        p + 2 * N,
                                                                        LITTLE_ENDIAN)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .sub(zero);
                s2 =
                        d.fma(two, d.mul(one))
                                .fma(fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN), s2);
                d =
                        ((FloatVector)
                                        ((IntVector)
                                                        ByteVector.fromMemorySegment(
                                                                        Lanes.OCTETS,
                                                                        MEMORY,
                                                                        p + 3 * N,
                                                                        LITTLE_ENDIAN)
                                                                .convertShape(
                                                                        ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .sub(zero);
                s3 =
                        d.fma(two, d.mul(one))
                                .fma(fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN), s3);
                left--;
                group += left == 0 ? 1 : 0;
                left = left == 0 ? width : left;
            }
            s0.add(s1).add(s2.add(s3)).intoArray(sums, j * N);
        }
    }

    /// Floats of a row: eight codes are the halves of the four octets that each lane has a copy of.
    private void nibbleValues(long to, long from, float[] a, float[] b, float[] z) {
        IntVector shifts = IntVector.broadcast(I, 0).addIndex(4);
        int per = STEP / N * width;
        int group = 0;
        int left = per;
        for (int i = 0; i < k / N; i++) {
            FloatVector d =
                    ((FloatVector)
                                    IntVector.broadcast(I, MEMORY.get(I32, from + 4L * i))
                                            .lanewise(LSHR, shifts)
                                            .and(15)
                                            .convert(I2F, 0))
                            .sub(z[group]);
            d.fma(FloatVector.broadcast(F, b[group]), d.mul(a[group]))
                    .intoMemorySegment(MEMORY, to + 4L * N * i, LITTLE_ENDIAN);
            left--;
            group += left == 0 ? 1 : 0;
            left = left == 0 ? per : left;
        }
    }

    private void octetValues(long to, long from, float[] a, float[] b, float[] z) {
        int per = STEP / N * width;
        int group = 0;
        int left = per;
        for (int i = 0; i < k / N; i++) {
            FloatVector d =
                    ((FloatVector)
                                    ((IntVector)
                                                    ByteVector.fromMemorySegment(
                                                                    Lanes.OCTETS,
                                                                    MEMORY,
                                                                    from + (long) N * i,
                                                                    LITTLE_ENDIAN)
                                                            .convertShape(ZERO_EXTEND_B2I, I, 0))
                                            .convert(I2F, 0))
                            .sub(z[group]);
            d.fma(FloatVector.broadcast(F, b[group]), d.mul(a[group]))
                    .intoMemorySegment(MEMORY, to + 4L * N * i, LITTLE_ENDIAN);
            left--;
            group += left == 0 ? 1 : 0;
            left = left == 0 ? per : left;
        }
    }
}
