// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/// Whole rows of a weight as floats, by [Loops] and not by vectors: for weights that are seen once.
sealed interface PlainRows {
    /// `dst[0, in)` = a row.
    void read(float[] dst, long row, Scratch scratch);

    static PlainRows of(Weight w) {
        return switch (w) {
            case Weight.Grouped g when g.groupIndex() == null -> new Grouped(g);
            case Weight.Scaled s -> new Scaled(s);
            case Weight.Grouped _, Weight.Blocks _, Weight.Dense _ ->
                    new Other(Operand.of(w), Math.toIntExact(w.inFeatures()));
        };
    }

    /// Plain values, and what has no loops of its own.
    record Other(Operand w, int in) implements PlainRows {
        @Override
        public void read(float[] dst, long row, Scratch scratch) {
            if (w instanceof Operand.Rows(var bytes, var type, long from, long stride)) {
                Loops.read(dst, bytes, type, from + row * stride, in, scratch);
            } else {
                w.read(dst, 0, row, 0, in, scratch);
            }
        }
    }

    /// `round((code - zero) * scale)`, groups one after another
    final class Grouped implements PlainRows {
        private static final VarHandle EIGHT =
                MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

        private final int in;
        private final int bits;
        private final int count;
        private final int groups;
        private final int width;
        private final DType type;
        private final MemorySegment words;
        private final MemorySegment scales;
        private final MemorySegment zeros;

        Grouped(Weight.Grouped w) {
            in = Math.toIntExact(w.inFeatures());
            bits = w.grid().codes().bits();
            count = Math.toIntExact(w.codes().cols());
            groups = Math.toIntExact(w.scales().cols());
            width = Math.toIntExact(w.grid().tiles().width(in));
            type = w.scales().dtype();
            words = w.codes().bytes();
            scales = w.scales().bytes();
            zeros = w.zeros().bytes();
        }

        @Override
        public void read(float[] dst, long row, Scratch scratch) {
            float[] each = scratch.floats(1, groups);
            float[] spread = scratch.floats(2, in);
            byte[] octets = scratch.octets(Math.max(groups, in + Long.BYTES));
            MemorySegment.copy(zeros, ValueLayout.JAVA_BYTE, row * groups, octets, 0, groups);
            Loops.floats(each, octets, groups, 8);
            Loops.spread(spread, each, width, in);
            codes(octets, row, scratch);
            Loops.floats(dst, octets, in, bits);
            Loops.subtract(dst, spread, in);
            Loops.read(each, scales, type, row * groups, groups, scratch);
            Loops.spread(spread, each, width, in);
            Loops.multiply(dst, spread, in);
            Loops.round(dst, in, type, scratch);
        }

        /// One a byte.
        private void codes(byte[] octets, long row, Scratch scratch) {
            if (bits == 8) {
                MemorySegment.copy(words, ValueLayout.JAVA_BYTE, 4 * row * count, octets, 0, in);
                return;
            }
            int[] packed = scratch.words(count);
            MemorySegment.copy(words, Lanes.I32, 4 * row * count, packed, 0, count);
            if (bits == 4) {
                nibbles(octets, packed, count);
            } else {
                stream(octets, packed, in, bits);
            }
        }

        /// Eight codes of each word.
        private static void nibbles(byte[] octets, int[] words, int count) {
            int at = 0;
            for (int i = 0; i < count && at <= octets.length - Long.BYTES; i++) {
                long x = words[i] & 0xffff_ffffL;
                x = (x | x << 16) & 0x0000_ffff_0000_ffffL;
                x = (x | x << 8) & 0x00ff_00ff_00ff_00ffL;
                x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0fL;
                EIGHT.set(octets, at, x);
                at += Long.BYTES;
            }
        }

        private static void stream(byte[] octets, int[] words, int n, int bits) {
            int mask = (1 << bits) - 1;
            long window = 0;
            int filled = 0;
            int at = 0;
            for (int i = 0; i < n; i++) {
                if (filled < bits) {
                    window |= (words[at++] & 0xffff_ffffL) << filled;
                    filled += 32;
                }
                octets[i] = (byte) (window & mask);
                window >>>= bits;
                filled -= bits;
            }
        }
    }

    /// `round(value(code) * scale)`
    final class Scaled implements PlainRows {
        private final int in;
        private final int across;
        private final int width;
        private final long height;
        private final boolean halves;
        private final DType type;
        private final CodeTable table;
        private final TileScales scales;
        private final MemorySegment codes;

        Scaled(Weight.Scaled w) {
            in = Math.toIntExact(w.inFeatures());
            across = Math.toIntExact(w.scales().cols());
            width = Math.toIntExact(Math.min(in, w.grid().tiles().width(in)));
            height = w.grid().tiles().height(w.outFeatures());
            halves = w.grid().codes().bits() == 4;
            type = w.valueType();
            table = CodeTable.of(w.grid().codes());
            scales = new TileScales(w.scales(), w.global());
            codes = w.codes().bytes();
        }

        @Override
        public void read(float[] dst, long row, Scratch scratch) {
            float[] each = scratch.floats(1, across);
            float[] spread = scratch.floats(2, in);
            for (int t = 0; t < across; t++) {
                each[t] = scales.get(row / height * across + t);
            }
            Loops.spread(spread, each, width, in);
            table.values(dst, codes(row, scratch), in);
            Loops.multiply(dst, spread, in);
            Loops.round(dst, in, type, scratch);
        }

        /// One a byte.
        private byte[] codes(long row, Scratch scratch) {
            byte[] octets = scratch.octets(in);
            int bytes = halves ? in / 2 : in;
            MemorySegment.copy(codes, ValueLayout.JAVA_BYTE, row * bytes, octets, 0, bytes);
            // From the last: a pair lies before where its codes go, or at the same place.
            for (int i = bytes - 1; halves && i >= 0; i--) {
                int pair = octets[i];
                octets[2 * i] = (byte) (pair & 15);
                octets[2 * i + 1] = (byte) (pair >> 4 & 15);
            }
            return octets;
        }
    }
}
