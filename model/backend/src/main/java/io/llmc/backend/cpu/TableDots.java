// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.LSHR;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Of codes of two to four bits, where vectors have sixteen lanes: what a group's codes stand for
/// is one vector, and codes choose among its lanes.
final class TableDots implements Dots {
    private final MemorySegment codes;
    private final Tables tables;
    private final DecodedDots decoded;
    private final long pitch;
    private final int groups;
    private final int k;

    /// Address of a row of x.
    private long x;

    /// Steps of a group; 0 where a step is several groups.
    private final int steps;

    /// Which of a step's groups each of its vectors belongs to, and how many a step has; none where
    /// a group has whole steps.
    private final int[] group = new int[4];

    private final int several;

    /// Bytes of a step. See [Dots]: no constant, and not in a record.
    private final int bytes;

    /// Which of a table's values the lowest bits of a code choose.
    private final int[] wrap = new int[N];

    /// Which of the loaded words each lane of each vector of codes comes from: of those at the
    /// beginning, or, where a code would be in two of them, of those that begin two bytes later.
    private final int[] words = new int[STEP];

    /// Where each lane's code begins in its word.
    private final int[] shifts = new int[STEP];

    private TableDots(Weight w, MemorySegment codes, int bits, int width, Tables tables) {
        this.codes = codes;
        this.tables = tables;
        k = Math.toIntExact(w.inFeatures());
        decoded = new DecodedDots(Operand.of(w), k);
        bytes = STEP * bits / 8;
        pitch = (long) k / STEP * bytes;
        groups = Math.ceilDiv(k, width);
        steps = width / STEP;
        several = steps > 0 ? 0 : STEP / width;
        for (int i = 0; i < 4; i++) {
            group[i] = several * i / 4;
        }
        for (int i = 0; i < STEP; i++) {
            int bit = i * bits;
            boolean whole = bit % 32 + bits <= 32;
            words[i] = whole ? bit / 32 : N + (bit - 16) / 32;
            shifts[i] = (whole ? bit : bit - 16) % 32;
            wrap[i % N] = i % N & (1 << bits) - 1;
        }
    }

    /// What codes of groups stand for.
    sealed interface Tables permits GroupTables, FloatTables {
        float[] values();

        /// Of so many groups.
        ///
        /// @param at of the first one in `from` and `factors`
        /// @param from where in [#values] what code 0 stands for begins, in whole vectors
        /// @param factors what it is multiplied by
        /// @return whether all values can be had so
        boolean prepare(
                int[] from, float[] factors, int at, long first, int count, Scratch scratch);
    }

    /// Null for those that this does not multiply.
    static TableDots of(Weight.Grouped w) {
        int bits = w.grid().codes().bits();
        int width = Math.toIntExact(w.grid().tiles().width(w.inFeatures()));
        return bits <= 4 && w.groupIndex() == null && fits(w, width)
                ? new TableDots(w, w.codes().bytes(), bits, width, new GroupTables(w))
                : null;
    }

    /// Null for those that this does not multiply.
    static TableDots of(Weight.Scaled w) {
        int bits = w.grid().codes().bits();
        int width = Math.toIntExact(w.grid().tiles().width(w.inFeatures()));
        boolean rows = w.grid().tiles().height(w.outFeatures()) == 1;
        return bits <= 4 && rows && !w.scales().dtype().isFloat() && fits(w, width)
                ? new TableDots(w, w.codes().bytes(), bits, width, new FloatTables(w))
                : null;
    }

    private static boolean fits(Weight w, int width) {
        boolean several = width < STEP && width % N == 0 && STEP % width == 0;
        return N == 16 && w.inFeatures() % STEP == 0 && (width % STEP == 0 || several);
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public void take(MemorySegment x, int rows, int width, Dots before, Scratch shared) {
        this.x = x.address();
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        Values v = values(first, count, scratch);
        if (v == null) {
            return false;
        }
        if (several > 0) {
            parts(vectors, count, v.from, v.starts, v.factors, x);
        } else {
            products(vectors, count, v.from, v.starts, v.factors, x);
        }
        return true;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        int[] starts = scratch.words(ROWS * groups + N);
        float[] factors = scratch.floats(8, ROWS * groups + N);
        boolean regular = true;
        int together = rows.stride() == 1 ? rows.count() : 1;
        for (int j = 0; j < rows.count(); j += together) {
            int some = together * groups;
            long from = rows.get(j) * groups;
            regular &= tables.prepare(starts, factors, j * groups, from, some, scratch);
        }
        if (!regular) {
            decoded.decode(panel, width, rows, scratch);
            return;
        }
        long[] from = new long[rows.count()];
        for (int j = 0; j < rows.count(); j++) {
            from[j] = words(rows.get(j), 1, j, scratch);
        }
        values(panel.address(), width, from, starts, factors);
    }

    /// What some rows' codes and tables are read from.
    ///
    /// @param from the address of their codes
    private record Values(long from, int[] starts, float[] factors) {}

    /// Null where tables are not right for these rows.
    private Values values(long first, int count, Scratch scratch) {
        int all = Lanes.padded((long) count * groups);
        int[] starts = scratch.words(all);
        float[] factors = scratch.floats(8, all);
        if (!tables.prepare(starts, factors, 0, first * groups, count * groups, scratch)) {
            return null;
        }
        return new Values(words(first, count, 0, scratch), starts, factors);
    }

    /// The address of the codes of some rows, or of a copy: out of a file before anything is loaded
    /// as a vector (see Lanes.read), and where a load of the last step would go beyond the end.
    ///
    /// @param place among the copies of as many rows
    private long words(long first, int count, int place, Scratch scratch) {
        long end = (first + count) * pitch;
        if (!codes.isMapped() && end - bytes + 4 * N + 2 <= codes.byteSize()) {
            return codes.address() + first * pitch;
        }
        long at = place * count * pitch;
        MemorySegment copy = scratch.bytes(1, Math.max(ROWS, count) * pitch + 4 * N + 2);
        MemorySegment.copy(codes, first * pitch, copy, at, count * pitch);
        return copy.address() + at;
    }

    /// Groups of whole steps.
    private void products(
            float[] sums, int count, long from, int[] starts, float[] factors, long x) {
        IntVector spread0 = IntVector.fromArray(I, words, 0 * N);
        IntVector spread1 = IntVector.fromArray(I, words, 1 * N);
        IntVector spread2 = IntVector.fromArray(I, words, 2 * N);
        IntVector spread3 = IntVector.fromArray(I, words, 3 * N);
        IntVector shift0 = IntVector.fromArray(I, shifts, 0 * N);
        IntVector shift1 = IntVector.fromArray(I, shifts, 1 * N);
        IntVector shift2 = IntVector.fromArray(I, shifts, 2 * N);
        IntVector shift3 = IntVector.fromArray(I, shifts, 3 * N);
        IntVector wrap = IntVector.fromArray(I, this.wrap, 0);
        float[] values = tables.values();
        long by = bytes;
        for (int j = 0; j < count; j++) {
            int group = j * groups;
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            long q = x;
            long end = from + (j + 1) * pitch;
            int left = steps;
            for (long at = end - pitch; at < end; at += by) {
                IntVector t =
                        FloatVector.fromArray(F, values, starts[group])
                                .mul(factors[group])
                                .reinterpretAsInts();
                t = wrap.selectFrom(t);
                IntVector v = IntVector.fromMemorySegment(I, MEMORY, at, LITTLE_ENDIAN);
                IntVector u = IntVector.fromMemorySegment(I, MEMORY, at + 2, LITTLE_ENDIAN);
                IntVector c0 = spread0.selectFrom(v, u).lanewise(LSHR, shift0).selectFrom(t);
                a =
                        c0.reinterpretAsFloats()
                                .fma(FloatVector.fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN), a);
                IntVector c1 = spread1.selectFrom(v, u).lanewise(LSHR, shift1).selectFrom(t);
                b =
                        c1.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c2 = spread2.selectFrom(v, u).lanewise(LSHR, shift2).selectFrom(t);
                c =
                        c2.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c3 = spread3.selectFrom(v, u).lanewise(LSHR, shift3).selectFrom(t);
                d =
                        c3.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 12 * N, LITTLE_ENDIAN),
                                        d);
                q += 16 * N;
                left--;
                group += left == 0 ? 1 : 0;
                left = left == 0 ? steps : left;
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
    }

    /// Several groups a step.
    private void parts(float[] sums, int count, long from, int[] starts, float[] factors, long x) {
        IntVector spread0 = IntVector.fromArray(I, words, 0 * N);
        IntVector spread1 = IntVector.fromArray(I, words, 1 * N);
        IntVector spread2 = IntVector.fromArray(I, words, 2 * N);
        IntVector spread3 = IntVector.fromArray(I, words, 3 * N);
        IntVector shift0 = IntVector.fromArray(I, shifts, 0 * N);
        IntVector shift1 = IntVector.fromArray(I, shifts, 1 * N);
        IntVector shift2 = IntVector.fromArray(I, shifts, 2 * N);
        IntVector shift3 = IntVector.fromArray(I, shifts, 3 * N);
        IntVector wrap = IntVector.fromArray(I, this.wrap, 0);
        float[] values = tables.values();
        long by = bytes;
        int second = this.group[1];
        int third = this.group[2];
        int fourth = this.group[3];
        for (int j = 0; j < count; j++) {
            int group = j * groups;
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            long q = x;
            long end = from + (j + 1) * pitch;
            for (long at = end - pitch; at < end; at += by) {
                IntVector t0 =
                        FloatVector.fromArray(F, values, starts[group])
                                .mul(factors[group])
                                .reinterpretAsInts();
                t0 = wrap.selectFrom(t0);
                IntVector t1 =
                        FloatVector.fromArray(F, values, starts[group + second])
                                .mul(factors[group + second])
                                .reinterpretAsInts();
                t1 = wrap.selectFrom(t1);
                IntVector t2 =
                        FloatVector.fromArray(F, values, starts[group + third])
                                .mul(factors[group + third])
                                .reinterpretAsInts();
                t2 = wrap.selectFrom(t2);
                IntVector t3 =
                        FloatVector.fromArray(F, values, starts[group + fourth])
                                .mul(factors[group + fourth])
                                .reinterpretAsInts();
                t3 = wrap.selectFrom(t3);
                IntVector v = IntVector.fromMemorySegment(I, MEMORY, at, LITTLE_ENDIAN);
                IntVector u = IntVector.fromMemorySegment(I, MEMORY, at + 2, LITTLE_ENDIAN);
                IntVector c0 = spread0.selectFrom(v, u).lanewise(LSHR, shift0).selectFrom(t0);
                a =
                        c0.reinterpretAsFloats()
                                .fma(FloatVector.fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN), a);
                IntVector c1 = spread1.selectFrom(v, u).lanewise(LSHR, shift1).selectFrom(t1);
                b =
                        c1.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                IntVector c2 = spread2.selectFrom(v, u).lanewise(LSHR, shift2).selectFrom(t2);
                c =
                        c2.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                IntVector c3 = spread3.selectFrom(v, u).lanewise(LSHR, shift3).selectFrom(t3);
                d =
                        c3.reinterpretAsFloats()
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, MEMORY, q + 12 * N, LITTLE_ENDIAN),
                                        d);
                q += 16 * N;
                group += several;
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
    }

    /// Floats of some rows.
    ///
    /// @param from the address of each one's codes
    private void values(long panel, int width, long[] from, int[] starts, float[] factors) {
        IntVector spread0 = IntVector.fromArray(I, words, 0 * N);
        IntVector spread1 = IntVector.fromArray(I, words, 1 * N);
        IntVector spread2 = IntVector.fromArray(I, words, 2 * N);
        IntVector spread3 = IntVector.fromArray(I, words, 3 * N);
        IntVector shift0 = IntVector.fromArray(I, shifts, 0 * N);
        IntVector shift1 = IntVector.fromArray(I, shifts, 1 * N);
        IntVector shift2 = IntVector.fromArray(I, shifts, 2 * N);
        IntVector shift3 = IntVector.fromArray(I, shifts, 3 * N);
        IntVector wrap = IntVector.fromArray(I, this.wrap, 0);
        float[] values = tables.values();
        long by = bytes;
        int second = this.group[1];
        int third = this.group[2];
        int fourth = this.group[3];
        int next = Math.max(1, several);
        int most = Math.max(1, steps);
        for (int turn = 0; turn < k / STEP; turn += TURN) {
            for (int j = 0; j < from.length; j++) {
                int group = j * groups + turn / most * next;
                int left = most - turn % most;
                long q = panel + 4L * (j * width + turn * STEP);
                long end = from[j] + Math.min(pitch, (turn + TURN) * by);
                for (long at = from[j] + turn * by; at < end; at += by) {
                    IntVector t0 =
                            FloatVector.fromArray(F, values, starts[group])
                                    .mul(factors[group])
                                    .reinterpretAsInts();
                    t0 = wrap.selectFrom(t0);
                    IntVector t1 =
                            FloatVector.fromArray(F, values, starts[group + second])
                                    .mul(factors[group + second])
                                    .reinterpretAsInts();
                    t1 = wrap.selectFrom(t1);
                    IntVector t2 =
                            FloatVector.fromArray(F, values, starts[group + third])
                                    .mul(factors[group + third])
                                    .reinterpretAsInts();
                    t2 = wrap.selectFrom(t2);
                    IntVector t3 =
                            FloatVector.fromArray(F, values, starts[group + fourth])
                                    .mul(factors[group + fourth])
                                    .reinterpretAsInts();
                    t3 = wrap.selectFrom(t3);
                    IntVector v = IntVector.fromMemorySegment(I, MEMORY, at, LITTLE_ENDIAN);
                    IntVector u = IntVector.fromMemorySegment(I, MEMORY, at + 2, LITTLE_ENDIAN);
                    spread0.selectFrom(v, u)
                            .lanewise(LSHR, shift0)
                            .selectFrom(t0)
                            .intoMemorySegment(MEMORY, q, LITTLE_ENDIAN);
                    spread1.selectFrom(v, u)
                            .lanewise(LSHR, shift1)
                            .selectFrom(t1)
                            .intoMemorySegment(MEMORY, q + 4 * N, LITTLE_ENDIAN);
                    spread2.selectFrom(v, u)
                            .lanewise(LSHR, shift2)
                            .selectFrom(t2)
                            .intoMemorySegment(MEMORY, q + 8 * N, LITTLE_ENDIAN);
                    spread3.selectFrom(v, u)
                            .lanewise(LSHR, shift3)
                            .selectFrom(t3)
                            .intoMemorySegment(MEMORY, q + 12 * N, LITTLE_ENDIAN);
                    q += 16 * N;
                    left--;
                    group += left == 0 ? next : 0;
                    left = left == 0 ? most : left;
                }
            }
        }
    }
}
