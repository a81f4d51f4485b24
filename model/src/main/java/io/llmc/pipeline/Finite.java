// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.UserException;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Refuses weights that are no numbers before anything is computed from them.
final class Finite {
    private Finite() {}

    /// @throws UserException naming the tensor and the first bad element
    static void require(String name, Tensor t) {
        long bad =
                switch (t.dtype()) {
                    case F32 -> scan(t.bytes(), 0x7f80_0000_7f80_0000L, 32);
                    case BF16 -> scan(t.bytes(), 0x7f80_7f80_7f80_7f80L, 16);
                    case F16 -> scan(t.bytes(), 0x7c00_7c00_7c00_7c00L, 16);
                    default -> -1;
                };
        if (bad >= 0) {
            throw new UserException(
                    "tensor %s has a NaN or an infinity at element %d".formatted(name, bad),
                    "the checkpoint is damaged, or was trained until it diverged; fetch it again");
        }
    }

    /// The first element whose exponent bits are all ones; 8 bytes at a time, a lane of `width`
    /// bits each.
    private static long scan(MemorySegment bytes, long exponents, int width) {
        long size = bytes.byteSize();
        long words = size / 8;
        for (long i = 0; i < words; i++) {
            long word = bytes.get(ValueLayout.JAVA_LONG_UNALIGNED, 8 * i);
            long found = lane(word, exponents, width);
            if (found >= 0) {
                return i * 64 / width + found;
            }
        }
        long tail = 0;
        for (long b = 8 * words; b < size; b++) {
            tail |= (bytes.get(ValueLayout.JAVA_BYTE, b) & 0xffL) << (8 * (b - 8 * words));
        }
        long found = lane(tail, exponents, width);
        return found < 0 ? -1 : words * 64 / width + found;
    }

    /// The lane of a word whose exponent is all ones, or -1.
    private static long lane(long word, long exponents, int width) {
        // A lane of `rest` is zero where all exponent bits are set; the classic zero-lane test then
        // finds
        // candidates fast, and only they are looked at one by one.
        long rest = ~word & exponents;
        long ones = width == 32 ? 0x0000_0001_0000_0001L : 0x0001_0001_0001_0001L;
        if (((rest - ones) & ~rest & (ones << (width - 1))) == 0) {
            return -1;
        }
        long mask = width == 32 ? 0xffff_ffffL : 0xffffL;
        for (int k = 0; k < 64 / width; k++) {
            if ((rest >>> (k * width) & mask) == 0) {
                return k;
            }
        }
        return -1;
    }
}
