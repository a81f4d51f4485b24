// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromMemorySegment;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.XOR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Of E2M1 in groups of 16 or 32 where vectors have eight lanes: three bits of a code choose among
/// the eight magnitudes of its group, the fourth is the sign.
final class MagnitudeDots implements Dots {
    private static final int SIGN = 0x80000000;

    private final MemorySegment codes;
    private final FloatTables tables;
    private final int groups;
    private final int k;

    /// Address of a row of x, [Pairs#arranged].
    private long x;

    private final long pitch;
    private final int width;

    /// Of a step's second half from its first; 0 where both are one group.
    private final int next;

    private MagnitudeDots(Weight.Scaled w, int width) {
        codes = w.codes().bytes();
        tables = new FloatTables(w);
        this.width = width;
        groups = Math.toIntExact(w.scales().cols());
        k = Math.toIntExact(w.inFeatures());
        pitch = k / 2;
        next = width == STEP ? 0 : 1;
    }

    /// Null for those that this does not multiply.
    static MagnitudeDots of(Weight.Scaled w) {
        int width = Math.toIntExact(w.grid().tiles().width(w.inFeatures()));
        return N == 8
                        && w.grid().codes().bits() == 4
                        && w.grid().tiles().height(w.outFeatures()) == 1
                        && !w.scales().dtype().isFloat()
                        && w.inFeatures() % STEP == 0
                        && (width == STEP || width == STEP / 2)
                ? new MagnitudeDots(w, width)
                : null;
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public void take(MemorySegment x, int rows, int width, Dots before, Scratch shared) {
        this.x = Pairs.arranged(x, width, shared).address();
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        int[] starts = starts(first, count, scratch);
        long from = Dots.address(codes, first * pitch, count * pitch, scratch);
        products(vectors, count, from, starts, x);
        Pairs.order(vectors, count);
        return true;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        for (int j = 0; j < rows.count(); j++) {
            int[] starts = starts(rows.get(j), 1, scratch);
            long from = Dots.address(codes, rows.get(j) * pitch, pitch, scratch);
            values(panel.address() + 4L * j * width, from, starts);
        }
    }

    /// Where the magnitudes of each group of some rows begin.
    private int[] starts(long first, int count, Scratch scratch) {
        int all = Lanes.padded((long) count * groups);
        int[] starts = scratch.words(all);
        tables.prepare(starts, scratch.floats(8, all), 0, first * groups, count * groups, scratch);
        return starts;
    }

    /// @param x [Pairs#arranged]
    private void products(float[] sums, int count, long from, int[] starts, long x) {
        float[] values = tables.values();
        int steps = k / STEP;
        int by = next + 1;
        for (int j = 0; j < count; j++) {
            FloatVector s0 = FloatVector.zero(F);
            FloatVector s1 = FloatVector.zero(F);
            FloatVector s2 = FloatVector.zero(F);
            FloatVector s3 = FloatVector.zero(F);
            IntVector t;
            IntVector u;
            IntVector v;
            long w = from + j * pitch;
            int group = j * groups;
            for (int i = 0; i < steps; i++) {
                long p = w + (long) (STEP / 2) * i;
                long q = x + 4L * STEP * i;
                t = FloatVector.fromArray(F, values, starts[group]).reinterpretAsInts();
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, p, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                v = u.lanewise(LSHR, 4);
                s0 =
                        u.selectFrom(t)
                                .lanewise(XOR, u.lanewise(LSHL, 28).and(SIGN))
                                .reinterpretAsFloats()
                                .fma(fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN), s0);
                s1 =
                        v.selectFrom(t)
                                .lanewise(XOR, v.lanewise(LSHL, 28).and(SIGN))
                                .reinterpretAsFloats()
                                .fma(fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN), s1);
                t = FloatVector.fromArray(F, values, starts[group + next]).reinterpretAsInts();
                u =
                        (IntVector)
                                ByteVector.fromMemorySegment(
                                                Lanes.OCTETS, MEMORY, p + N, LITTLE_ENDIAN)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0);
                v = u.lanewise(LSHR, 4);
                s2 =
                        u.selectFrom(t)
                                .lanewise(XOR, u.lanewise(LSHL, 28).and(SIGN))
                                .reinterpretAsFloats()
                                .fma(fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN), s2);
                s3 =
                        v.selectFrom(t)
                                .lanewise(XOR, v.lanewise(LSHL, 28).and(SIGN))
                                .reinterpretAsFloats()
                                .fma(fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN), s3);
                group += by;
            }
            s0.intoArray(sums, 4 * N * j);
            s1.intoArray(sums, 4 * N * j + N);
            s2.intoArray(sums, 4 * N * j + 2 * N);
            s3.intoArray(sums, 4 * N * j + 3 * N);
        }
    }

    /// Floats of a row: eight codes are the halves of the four octets that each lane has a copy of.
    private void values(long to, long from, int[] starts) {
        float[] values = tables.values();
        IntVector shifts = IntVector.broadcast(I, 0).addIndex(4);
        int per = width / N;
        for (int i = 0; i < k / N; i++) {
            IntVector c =
                    IntVector.broadcast(I, MEMORY.get(I32, from + 4L * i)).lanewise(LSHR, shifts);
            c.selectFrom(FloatVector.fromArray(F, values, starts[i / per]).reinterpretAsInts())
                    .lanewise(XOR, c.lanewise(LSHL, 28).and(SIGN))
                    .intoMemorySegment(MEMORY, to + 4L * N * i, LITTLE_ENDIAN);
        }
    }
}
