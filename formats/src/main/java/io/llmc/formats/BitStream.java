// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// Values of a few bits in 32-bit words, the first in the lowest bits; a value may straddle words.
public final class BitStream {
    public static final ValueLayout.OfInt WORD =
            ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    public static final ValueLayout.OfLong LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private static final int TILE = 32;

    private BitStream() {}

    /// Value `i` of the stream whose words are `first`, `first + stride`, ...
    public static int get(MemorySegment words, long first, long stride, long i, int bits) {
        long bit = i * bits;
        long at = first + (bit >>> 5) * stride;
        int shift = (int) (bit & 31);
        int value = words.getAtIndex(WORD, at) >>> shift;
        if (shift + bits > 32) {
            value |= words.getAtIndex(WORD, at + stride) << (32 - shift);
        }
        return value & (1 << bits) - 1;
    }

    /// Sets value `i`, which must be zero before.
    public static void put(
            MemorySegment words, long first, long stride, long i, int bits, int value) {
        long bit = i * bits;
        long at = first + (bit >>> 5) * stride;
        int shift = (int) (bit & 31);
        words.setAtIndex(WORD, at, words.getAtIndex(WORD, at) | value << shift);
        if (shift + bits > 32) {
            long next = at + stride;
            words.setAtIndex(WORD, next, words.getAtIndex(WORD, next) | value >>> (32 - shift));
        }
    }

    /// The first `values.length` values of a stream of adjacent words.
    public static void unpack(int[] values, MemorySegment words, long first, int bits) {
        int mask = (1 << bits) - 1;
        long at = first;
        long window = 0;
        int held = 0;
        for (int i = 0; i < values.length; i++) {
            if (held < bits) {
                window |= (words.getAtIndex(WORD, at++) & 0xffffffffL) << held;
                held += 32;
            }
            values[i] = (int) window & mask;
            window >>>= bits;
            held -= bits;
        }
    }

    /// Writes values as a stream of adjacent words; bits behind the last are zero.
    public static void pack(MemorySegment words, long first, int[] values, int bits) {
        long at = first;
        long window = 0;
        int held = 0;
        for (int value : values) {
            window |= (long) value << held;
            held += bits;
            if (held >= 32) {
                words.setAtIndex(WORD, at++, (int) window);
                window >>>= 32;
                held -= 32;
            }
        }
        if (held > 0) {
            words.setAtIndex(WORD, at, (int) window);
        }
    }

    /// `out[c,r] = in[r,c]` for 32-bit elements, in tiles that stay in the cache.
    public static void transposeWords(MemorySegment out, MemorySegment in, long rows, long cols) {
        for (long r0 = 0; r0 < rows; r0 += TILE) {
            long r1 = Math.min(rows, r0 + TILE);
            for (long c0 = 0; c0 < cols; c0 += TILE) {
                long c1 = Math.min(cols, c0 + TILE);
                for (long r = r0; r < r1; r++) {
                    for (long c = c0; c < c1; c++) {
                        out.setAtIndex(WORD, c * rows + r, in.getAtIndex(WORD, r * cols + c));
                    }
                }
            }
        }
    }

    /// `out[c,r] = in[r,c]` for 16-bit elements, in tiles that stay in the cache.
    public static void transposeShorts(MemorySegment out, MemorySegment in, long rows, long cols) {
        for (long r0 = 0; r0 < rows; r0 += TILE) {
            long r1 = Math.min(rows, r0 + TILE);
            for (long c0 = 0; c0 < cols; c0 += TILE) {
                long c1 = Math.min(cols, c0 + TILE);
                for (long r = r0; r < r1; r++) {
                    for (long c = c0; c < c1; c++) {
                        out.setAtIndex(SHORT, c * rows + r, in.getAtIndex(SHORT, r * cols + c));
                    }
                }
            }
        }
    }
}
