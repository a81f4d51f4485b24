// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// Of codes of eight bits in groups of whole steps.
final class ByteDots implements Dots {
    private static final VectorSpecies<Byte> B = ByteVector.SPECIES_PREFERRED;

    private final MemorySegment codes;
    private final MemorySegment zeros;
    private final GroupTables scales;
    private final DecodedDots decoded;
    private final long pitch;
    private final long groups;
    private final int k;

    /// Steps of a group.
    private final int steps;

    /// How a value is rounded to the type of the scales: to the nearest, half to even, by bits that
    /// are dropped. Nothing of F32 is.
    private final int drop;

    private final int odd;
    private final int bias;
    private final int keep;

    /// See [Dots]; no constant, and not in a record.
    private final int step = STEP;

    private ByteDots(Weight.Grouped w) {
        codes = w.codes().bytes();
        zeros = w.zeros().bytes();
        scales = new GroupTables(w);
        pitch = 4 * w.codes().cols();
        groups = w.scales().cols();
        k = Math.toIntExact(w.inFeatures());
        decoded = new DecodedDots(Operand.of(w), k);
        steps = Math.toIntExact(w.grid().tiles().width(k)) / STEP;
        drop = w.scales().dtype() == DType.BF16 ? 16 : w.scales().dtype() == DType.F16 ? 13 : 0;
        odd = drop == 0 ? 0 : 1;
        bias = drop == 0 ? 0 : (1 << drop - 1) - 1;
        keep = -1 << drop;
    }

    /// Null for those that this does not multiply.
    static ByteDots of(Weight.Grouped w) {
        long k = w.inFeatures();
        boolean fits = k % STEP == 0 && w.grid().tiles().width(k) % STEP == 0;
        return N >= 8 && w.grid().codes().bits() == 8 && w.groupIndex() == null && fits
                ? new ByteDots(w)
                : null;
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public boolean multiply(
            float[] vectors, long first, int count, MemorySegment x, Scratch scratch) {
        return products(vectors, count, codes(first, count, scratch), first, x.address());
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        boolean regular = true;
        for (int j = 0; j < rows.count(); j++) {
            long row = rows.get(j);
            long to = panel.address() + 4L * j * width;
            regular &= values(to, codes(row, 1, scratch), row);
        }
        if (!regular) {
            decoded.decode(panel, width, rows, scratch);
        }
    }

    /// The address of the codes of some rows, or of a copy: out of a file before anything is loaded
    /// as a vector (see Lanes.read).
    private long codes(long first, int count, Scratch scratch) {
        if (!codes.isMapped()) {
            return codes.address() + first * pitch;
        }
        MemorySegment copy = scratch.bytes(1, count * pitch);
        MemorySegment.copy(codes, first * pitch, copy, 0, count * pitch);
        return copy.address();
    }

    /// Whether all scales were such that this rounds right.
    private boolean values(long to, long from, long row) {
        int by = step / 4;
        long end = from + k;
        long group = row * groups;
        int left = 4 * steps;
        boolean irregular = false;
        for (long at = from; at < end; at += by) {
            int s = scales.scale(group);
            irregular |= scales.irregular(s);
            float zero = zeros.get(ValueLayout.JAVA_BYTE, group) & 0xff;
            ByteVector u = ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, at, LITTLE_ENDIAN);
            IntVector c =
                    ((FloatVector)
                                    ((IntVector) u.convertShape(ZERO_EXTEND_B2I, I, 0))
                                            .convert(I2F, 0))
                            .sub(zero)
                            .mul(scales.value(s))
                            .reinterpretAsInts();
            c = c.lanewise(LSHR, drop).and(odd).add(c.add(bias)).and(keep);
            c.intoMemorySegment(MEMORY, to + 4 * (at - from), LITTLE_ENDIAN);
            left--;
            group += left == 0 ? 1 : 0;
            left = left == 0 ? 4 * steps : left;
        }
        return !irregular;
    }

    /// Whether all scales were such that this rounds right.
    private boolean products(float[] sums, int count, long from, long row, long x) {
        int by = step;
        boolean irregular = false;
        for (int j = 0; j < count; j++) {
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            long at = from + j * pitch;
            long end = at + k;
            long q = x;
            long group = (row + j) * groups;
            int left = steps;
            while (at < end) {
                int s = scales.scale(group);
                irregular |= scales.irregular(s);
                float scale = scales.value(s);
                float zero = zeros.get(ValueLayout.JAVA_BYTE, group) & 0xff;
                ByteVector u = ByteVector.fromMemorySegment(B, MEMORY, at, LITTLE_ENDIAN);
                IntVector c0 =
                        ((FloatVector)
                                        ((IntVector) u.convertShape(ZERO_EXTEND_B2I, I, 0))
                                                .convert(I2F, 0))
                                .sub(zero)
                                .mul(scale)
                                .reinterpretAsInts();
                c0 = c0.lanewise(LSHR, drop).and(odd).add(c0.add(bias)).and(keep);
                a =
                        c0.reinterpretAsFloats()
                                .fma(FloatVector.fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN), a);
                IntVector c1 =
                        ((FloatVector)
                                        ((IntVector) u.convertShape(ZERO_EXTEND_B2I, I, 1))
                                                .convert(I2F, 0))
                                .sub(zero)
                                .mul(scale)
                                .reinterpretAsInts();
                c1 = c1.lanewise(LSHR, drop).and(odd).add(c1.add(bias)).and(keep);
                b =
                        c1.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c2 =
                        ((FloatVector)
                                        ((IntVector) u.convertShape(ZERO_EXTEND_B2I, I, 2))
                                                .convert(I2F, 0))
                                .sub(zero)
                                .mul(scale)
                                .reinterpretAsInts();
                c2 = c2.lanewise(LSHR, drop).and(odd).add(c2.add(bias)).and(keep);
                c =
                        c2.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c3 =
                        ((FloatVector)
                                        ((IntVector) u.convertShape(ZERO_EXTEND_B2I, I, 3))
                                                .convert(I2F, 0))
                                .sub(zero)
                                .mul(scale)
                                .reinterpretAsInts();
                c3 = c3.lanewise(LSHR, drop).and(odd).add(c3.add(bias)).and(keep);
                d =
                        c3.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 12 * N, LITTLE_ENDIAN),
                                        d);
                at += by;
                q += 16 * N;
                left--;
                group += left == 0 ? 1 : 0;
                left = left == 0 ? steps : left;
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
        return !irregular;
    }
}
