// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.BitStream;
import java.lang.foreign.MemorySegment;

/// Codes as the library packed them up to 0.16: a word holds `32 / bits` of them, and leaves its
/// top bits unused where the width does not divide 32: ten of 3 bits, five of 6.
final class Gaps {
    private Gaps() {}

    static long words(long codes, int bits) {
        return Math.ceilDiv(codes, (long) (32 / bits));
    }

    /// Code `i` of the words `first`, `first + stride`, ...
    static int get(MemorySegment words, long first, long stride, long i, int bits) {
        int perWord = 32 / bits;
        int word = words.getAtIndex(BitStream.WORD, first + i / perWord * stride);
        return word >>> (int) (i % perWord) * bits & (1 << bits) - 1;
    }
}
