// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromMemorySegment;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Of codes of four bits in groups of whole steps, two in each octet: a load spreads octets over
/// lanes, whose halves then choose among a group's values as those of [TableDots] do.
final class NibbleDots implements Dots {
    private final MemorySegment codes;
    private final GroupTables tables;
    private final TableDots several;
    private final int groups;
    private final int k;

    /// Address of a row of x, [Pairs#arranged].
    private long x;

    /// Steps of a row, and of a group.
    private final int steps;

    private final int width;

    private NibbleDots(Weight.Grouped w, TableDots several) {
        this.several = several;
        codes = w.codes().bytes();
        tables = new GroupTables(w);
        groups = Math.toIntExact(w.scales().cols());
        k = Math.toIntExact(w.inFeatures());
        steps = k / STEP;
        width = Math.toIntExact(w.grid().tiles().width(k)) / STEP;
    }

    /// The faster one of the two that multiplies these.
    static Dots of(Weight.Grouped w) {
        TableDots several = TableDots.of(w);
        boolean fits =
                w.grid().codes().bits() == 4 && w.grid().tiles().width(w.inFeatures()) % STEP == 0;
        return several != null && fits ? new NibbleDots(w, several) : several;
    }

    @Override
    public long rowBytes() {
        return k / 2;
    }

    @Override
    public void take(MemorySegment x, int rows, int width, Scratch shared) {
        this.x = Pairs.arranged(x, width, shared).address();
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        int[] starts = scratch.words(Lanes.padded((long) count * groups));
        float[] factors = scratch.floats(8, Lanes.padded((long) count * groups));
        if (!tables.prepare(starts, factors, 0, first * groups, count * groups, scratch)) {
            return false;
        }
        products(vectors, count, codes(first, count, scratch), starts, factors, x);
        Pairs.order(vectors, count);
        return true;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        several.decode(panel, width, rows, scratch);
    }

    /// The address of the codes of some rows, or of a copy: out of a file before anything is loaded
    /// as a vector (see Lanes.read).
    private long codes(long first, int count, Scratch scratch) {
        if (!codes.isMapped()) {
            return codes.address() + first * rowBytes();
        }
        MemorySegment copy = scratch.bytes(1, count * rowBytes());
        MemorySegment.copy(codes, first * rowBytes(), copy, 0, count * rowBytes());
        return copy.address();
    }

    /// Four rows at a time, from four parts of the tile: memory is read ahead in each of them.
    ///
    /// @param x [Pairs#arranged]
    private void products(
            float[] sums, int count, long from, int[] starts, float[] factors, long x) {
        float[] values = tables.values();
        long pitch = rowBytes();
        int per = Math.ceilDiv(count, ROWS);
        for (int j = 0; j < per; j++) {
            int r1 = Math.min(j + per, count - 1);
            int r2 = Math.min(j + 2 * per, count - 1);
            int r3 = Math.min(j + 3 * per, count - 1);
            int g0 = j * groups;
            long w0 = from + j * pitch;
            int g1 = r1 * groups;
            long w1 = from + r1 * pitch;
            int g2 = r2 * groups;
            long w2 = from + r2 * pitch;
            int g3 = r3 * groups;
            long w3 = from + r3 * pitch;
            FloatVector a0 = FloatVector.zero(F);
            FloatVector b0 = FloatVector.zero(F);
            FloatVector c0 = FloatVector.zero(F);
            FloatVector d0 = FloatVector.zero(F);
            FloatVector a1 = FloatVector.zero(F);
            FloatVector b1 = FloatVector.zero(F);
            FloatVector c1 = FloatVector.zero(F);
            FloatVector d1 = FloatVector.zero(F);
            FloatVector a2 = FloatVector.zero(F);
            FloatVector b2 = FloatVector.zero(F);
            FloatVector c2 = FloatVector.zero(F);
            FloatVector d2 = FloatVector.zero(F);
            FloatVector a3 = FloatVector.zero(F);
            FloatVector b3 = FloatVector.zero(F);
            FloatVector c3 = FloatVector.zero(F);
            FloatVector d3 = FloatVector.zero(F);
            FloatVector x0;
            FloatVector x1;
            FloatVector x2;
            FloatVector x3;
            IntVector t;
            IntVector u;
            IntVector v;
            int group = 0;
            int left = width;
            for (int i = 0; i < steps; i++) {
                long q = x + 4L * STEP * i;
                x0 = fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN);
                x1 = fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN);
                x2 = fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN);
                x3 = fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN);
                t =
                        FloatVector.fromArray(F, values, starts[g0 + group])
                                .mul(factors[g0 + group])
                                .reinterpretAsInts();
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS, MEMORY, w0 + 32L * i, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                v =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS,
                                                MEMORY,
                                                w0 + 32L * i + 16,
                                                LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                a0 = u.selectFrom(t).reinterpretAsFloats().fma(x0, a0);
                b0 = u.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x1, b0);
                c0 = v.selectFrom(t).reinterpretAsFloats().fma(x2, c0);
                d0 = v.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x3, d0);
                t =
                        FloatVector.fromArray(F, values, starts[g1 + group])
                                .mul(factors[g1 + group])
                                .reinterpretAsInts();
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS, MEMORY, w1 + 32L * i, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                v =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS,
                                                MEMORY,
                                                w1 + 32L * i + 16,
                                                LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                a1 = u.selectFrom(t).reinterpretAsFloats().fma(x0, a1);
                b1 = u.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x1, b1);
                c1 = v.selectFrom(t).reinterpretAsFloats().fma(x2, c1);
                d1 = v.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x3, d1);
                t =
                        FloatVector.fromArray(F, values, starts[g2 + group])
                                .mul(factors[g2 + group])
                                .reinterpretAsInts();
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS, MEMORY, w2 + 32L * i, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                v =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS,
                                                MEMORY,
                                                w2 + 32L * i + 16,
                                                LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                a2 = u.selectFrom(t).reinterpretAsFloats().fma(x0, a2);
                b2 = u.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x1, b2);
                c2 = v.selectFrom(t).reinterpretAsFloats().fma(x2, c2);
                d2 = v.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x3, d2);
                t =
                        FloatVector.fromArray(F, values, starts[g3 + group])
                                .mul(factors[g3 + group])
                                .reinterpretAsInts();
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS, MEMORY, w3 + 32L * i, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                v =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS,
                                                MEMORY,
                                                w3 + 32L * i + 16,
                                                LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                a3 = u.selectFrom(t).reinterpretAsFloats().fma(x0, a3);
                b3 = u.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x1, b3);
                c3 = v.selectFrom(t).reinterpretAsFloats().fma(x2, c3);
                d3 = v.lanewise(LSHR, 4).selectFrom(t).reinterpretAsFloats().fma(x3, d3);
                left--;
                group += left == 0 ? 1 : 0;
                left = left == 0 ? width : left;
            }
            a0.intoArray(sums, 4 * N * j);
            b0.intoArray(sums, 4 * N * j + N);
            c0.intoArray(sums, 4 * N * j + 2 * N);
            d0.intoArray(sums, 4 * N * j + 3 * N);
            a1.intoArray(sums, 4 * N * r1);
            b1.intoArray(sums, 4 * N * r1 + N);
            c1.intoArray(sums, 4 * N * r1 + 2 * N);
            d1.intoArray(sums, 4 * N * r1 + 3 * N);
            a2.intoArray(sums, 4 * N * r2);
            b2.intoArray(sums, 4 * N * r2 + N);
            c2.intoArray(sums, 4 * N * r2 + 2 * N);
            d2.intoArray(sums, 4 * N * r2 + 3 * N);
            a3.intoArray(sums, 4 * N * r3);
            b3.intoArray(sums, 4 * N * r3 + N);
            c3.intoArray(sums, 4 * N * r3 + 2 * N);
            d3.intoArray(sums, 4 * N * r3 + 3 * N);
        }
    }
}
