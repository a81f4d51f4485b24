// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.LSHR;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Of codes of two or four bits, where vectors have sixteen lanes: what a group's codes stand for
/// is one vector, and codes choose among its lanes.
final class TableDots implements Dots {
    /// Codes of a block, eight vectors.
    private static final int BLOCK = 8 * N;

    private final MemorySegment codes;
    private final GroupTables tables;
    private final DecodedDots decoded;
    private final long pitch;
    private final long groups;
    private final int k;
    private final int group;
    private final int block;

    /// Blocks of a group.
    private final int blocks;

    /// Bytes of a block. See [Dots]: no constant, and not in a record.
    private final int step;

    /// The same of the first block, which may be less than a whole one.
    private final int first;

    /// Halves of a block are as many bytes as two to the power of this.
    private final int halfShift;

    /// Which of a table's values the lowest bits of a code choose.
    private final int[] wrap = new int[N];

    /// Which of the loaded words each lane of each vector of codes comes from.
    private final int[] words = new int[BLOCK];

    /// Where each lane's code begins in its word.
    private final int[] shifts = new int[N];

    private TableDots(Weight.Grouped w) {
        codes = w.codes().bytes();
        tables = new GroupTables(w);
        pitch = 4 * w.codes().cols();
        groups = w.scales().cols();
        k = Math.toIntExact(w.inFeatures());
        group = Math.toIntExact(w.grid().tiles().width(k));
        block = group == BLOCK / 4 ? BLOCK / 2 : BLOCK;
        decoded = new DecodedDots(Operand.of(w), k, block);
        blocks = Math.ceilDiv(group, block);
        int bits = w.grid().codes().bits();
        halfShift = Integer.numberOfTrailingZeros(BLOCK / 2 * bits / 8);
        step = block * bits / 8;
        first = k % block == 0 ? step : k % block * bits / 8;
        for (int i = 0; i < BLOCK; i++) {
            words[i] = i * bits / 32;
            shifts[i % N] = i * bits % 32;
            wrap[i % N] = i % N & w.grid().codes().maxCode();
        }
    }

    /// Null for those that this does not multiply.
    static TableDots of(Weight.Grouped w) {
        int bits = w.grid().codes().bits();
        long k = w.inFeatures();
        long width = w.grid().tiles().width(k);
        boolean whole = width == k || width % BLOCK == 0 && k % BLOCK == 0;
        boolean fits =
                k % STEP == 0 && k >= BLOCK && (whole || width == BLOCK / 2 || width == BLOCK / 4);
        return N == 16 && (bits == 2 || bits == 4) && w.groupIndex() == null && fits
                ? new TableDots(w)
                : null;
    }

    @Override
    public int block() {
        return block;
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public void run(float[] sums, long row, int count, Rows x, Scratch scratch) {
        MemorySegment w = codes;
        long from = row * pitch;
        if (codes.isMapped()) {
            // Out of the file before anything is loaded as a vector: see Lanes.read.
            w = scratch.bytes(1, count * pitch + 4 * N);
            MemorySegment.copy(codes, from, w, 0, count * pitch);
            from = 0;
        }
        // A load may go beyond the block that it is for.
        int fit = from + count * pitch - step + 4 * N <= w.byteSize() ? count : count - 1;
        float[] vectors = scratch.floats(5, count * N);
        boolean regular = true;
        for (int i = 0; i < x.count() && regular; i++) {
            regular = products(vectors, fit, w, from, row, x.bytes(), x.from(i));
            Dots.fold(sums, i * count, vectors, fit);
        }
        decoded.run(sums, row, regular ? fit : 0, count, x, scratch);
    }

    /// Whether all scales were such that tables are right.
    private boolean products(
            float[] sums,
            int count,
            MemorySegment w,
            long from,
            long row,
            MemorySegment x,
            long xFrom) {
        if (block < BLOCK) {
            return pairs(sums, count, w, from, row, x, xFrom);
        }
        return group == BLOCK / 2
                ? halves(sums, count, w, from, row, x, xFrom)
                : blocks(sums, count, w, from, row, x, xFrom);
    }

    /// Groups of whole blocks.
    private boolean blocks(
            float[] sums,
            int count,
            MemorySegment codes,
            long from,
            long row,
            MemorySegment x,
            long xFrom) {
        IntVector w0 = IntVector.fromArray(I, words, 0 * N);
        IntVector w1 = IntVector.fromArray(I, words, 1 * N);
        IntVector w2 = IntVector.fromArray(I, words, 2 * N);
        IntVector w3 = IntVector.fromArray(I, words, 3 * N);
        IntVector w4 = IntVector.fromArray(I, words, 4 * N);
        IntVector w5 = IntVector.fromArray(I, words, 5 * N);
        IntVector w6 = IntVector.fromArray(I, words, 6 * N);
        IntVector w7 = IntVector.fromArray(I, words, 7 * N);
        IntVector shifts = IntVector.fromArray(I, this.shifts, 0);
        IntVector wrap = IntVector.fromArray(I, this.wrap, 0);
        float[] values = tables.values();
        long whole = step;
        boolean irregular = false;
        for (int j = 0; j < count; j++) {
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            long q = xFrom;
            long at = from + j * pitch;
            long by = first;
            long end = at + pitch;
            long group = (row + j) * groups;
            int left = blocks;
            while (at < end) {
                int s0 = tables.scale(group);
                irregular |= tables.irregular(s0);
                IntVector t0 =
                        FloatVector.fromArray(F, values, tables.from(s0, group))
                                .mul(tables.factor(s0))
                                .reinterpretAsInts();
                t0 = wrap.selectFrom(t0);
                IntVector v = IntVector.fromMemorySegment(I, codes, at, LITTLE_ENDIAN);
                IntVector c0 = w0.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                a =
                        c0.reinterpretAsFloats()
                                .fma(FloatVector.fromMemorySegment(F, x, q, LITTLE_ENDIAN), a);
                IntVector c1 = w1.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                b =
                        c1.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c2 = w2.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                c =
                        c2.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c3 = w3.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                d =
                        c3.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 12 * N, LITTLE_ENDIAN),
                                        d);
                IntVector c4 = w4.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                a =
                        c4.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 16 * N, LITTLE_ENDIAN),
                                        a);
                IntVector c5 = w5.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                b =
                        c5.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 20 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c6 = w6.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                c =
                        c6.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 24 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c7 = w7.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                d =
                        c7.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 28 * N, LITTLE_ENDIAN),
                                        d);
                at += by;
                left--;
                group += left == 0 ? 1 : 0;
                left = left == 0 ? blocks : left;
                by = whole;
                q += 32 * N;
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
        return !irregular;
    }

    /// Groups of half a block.
    private boolean halves(
            float[] sums,
            int count,
            MemorySegment codes,
            long from,
            long row,
            MemorySegment x,
            long xFrom) {
        IntVector w0 = IntVector.fromArray(I, words, 0 * N);
        IntVector w1 = IntVector.fromArray(I, words, 1 * N);
        IntVector w2 = IntVector.fromArray(I, words, 2 * N);
        IntVector w3 = IntVector.fromArray(I, words, 3 * N);
        IntVector w4 = IntVector.fromArray(I, words, 4 * N);
        IntVector w5 = IntVector.fromArray(I, words, 5 * N);
        IntVector w6 = IntVector.fromArray(I, words, 6 * N);
        IntVector w7 = IntVector.fromArray(I, words, 7 * N);
        IntVector shifts = IntVector.fromArray(I, this.shifts, 0);
        IntVector wrap = IntVector.fromArray(I, this.wrap, 0);
        float[] values = tables.values();
        long whole = step;
        boolean irregular = false;
        for (int j = 0; j < count; j++) {
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            long q = xFrom;
            long at = from + j * pitch;
            long by = first;
            long end = at + pitch;
            long group = (row + j) * groups;
            while (at < end) {
                int s0 = tables.scale(group);
                irregular |= tables.irregular(s0);
                IntVector t0 =
                        FloatVector.fromArray(F, values, tables.from(s0, group))
                                .mul(tables.factor(s0))
                                .reinterpretAsInts();
                t0 = wrap.selectFrom(t0);
                int s1 = tables.scale(group + 1);
                irregular |= tables.irregular(s1);
                IntVector t1 =
                        FloatVector.fromArray(F, values, tables.from(s1, group + 1))
                                .mul(tables.factor(s1))
                                .reinterpretAsInts();
                t1 = wrap.selectFrom(t1);
                IntVector v = IntVector.fromMemorySegment(I, codes, at, LITTLE_ENDIAN);
                IntVector c0 = w0.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                a =
                        c0.reinterpretAsFloats()
                                .fma(FloatVector.fromMemorySegment(F, x, q, LITTLE_ENDIAN), a);
                IntVector c1 = w1.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                b =
                        c1.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c2 = w2.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                c =
                        c2.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c3 = w3.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                d =
                        c3.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 12 * N, LITTLE_ENDIAN),
                                        d);
                IntVector c4 = w4.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t1);
                a =
                        c4.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 16 * N, LITTLE_ENDIAN),
                                        a);
                IntVector c5 = w5.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t1);
                b =
                        c5.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 20 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c6 = w6.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t1);
                c =
                        c6.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 24 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c7 = w7.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t1);
                d =
                        c7.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 28 * N, LITTLE_ENDIAN),
                                        d);
                at += by;
                group += by >> halfShift;
                by = whole;
                q += 32 * N;
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
        return !irregular;
    }

    /// Groups of a quarter.
    private boolean pairs(
            float[] sums,
            int count,
            MemorySegment codes,
            long from,
            long row,
            MemorySegment x,
            long xFrom) {
        IntVector w0 = IntVector.fromArray(I, words, 0 * N);
        IntVector w1 = IntVector.fromArray(I, words, 1 * N);
        IntVector w2 = IntVector.fromArray(I, words, 2 * N);
        IntVector w3 = IntVector.fromArray(I, words, 3 * N);
        IntVector shifts = IntVector.fromArray(I, this.shifts, 0);
        IntVector wrap = IntVector.fromArray(I, this.wrap, 0);
        float[] values = tables.values();
        long whole = step;
        boolean irregular = false;
        for (int j = 0; j < count; j++) {
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            long q = xFrom;
            long at = from + j * pitch;
            long by = first;
            long end = at + pitch;
            long group = (row + j) * groups;
            while (at < end) {
                int s0 = tables.scale(group);
                irregular |= tables.irregular(s0);
                IntVector t0 =
                        FloatVector.fromArray(F, values, tables.from(s0, group))
                                .mul(tables.factor(s0))
                                .reinterpretAsInts();
                t0 = wrap.selectFrom(t0);
                int s1 = tables.scale(group + 1);
                irregular |= tables.irregular(s1);
                IntVector t1 =
                        FloatVector.fromArray(F, values, tables.from(s1, group + 1))
                                .mul(tables.factor(s1))
                                .reinterpretAsInts();
                t1 = wrap.selectFrom(t1);
                IntVector v = IntVector.fromMemorySegment(I, codes, at, LITTLE_ENDIAN);
                IntVector c0 = w0.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                a =
                        c0.reinterpretAsFloats()
                                .fma(FloatVector.fromMemorySegment(F, x, q, LITTLE_ENDIAN), a);
                IntVector c1 = w1.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t0);
                b =
                        c1.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c2 = w2.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t1);
                c =
                        c2.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c3 = w3.selectFrom(v).lanewise(LSHR, shifts).selectFrom(t1);
                d =
                        c3.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 12 * N, LITTLE_ENDIAN),
                                        d);
                at += by;
                group += 2;
                by = whole;
                q += 16 * N;
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
        return !irregular;
    }
}
