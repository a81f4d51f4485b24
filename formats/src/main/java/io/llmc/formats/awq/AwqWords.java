// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.awq;

import io.llmc.formats.BitStream;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Words of eight 4-bit values, one of each of eight neighbouring outputs. Output `8k + j` lies in
/// bits `4 * PLACE[j]` of word `k`, so that a kernel that masks even and odd values apart finds
/// each four in their order.
final class AwqWords {
    static final int PER_WORD = 8;

    private static final int[] PLACE = {0, 4, 1, 5, 2, 6, 3, 7};

    /// Words beside each other that are worked on together: a line of the cache.
    private static final long LINE = 16;

    private AwqWords() {}

    /// The value of an output in its word.
    static int get(int word, long out) {
        return word >>> 4 * PLACE[(int) (out % PER_WORD)] & 0xf;
    }

    /// A word of a file for each input and eight outputs, against a word of codes for each output
    /// and eight inputs.
    ///
    /// @param codes I32 `[out, ceil(in/8)]`
    /// @param file I32 `[in, out/8]`
    static void unpack(Tensor codes, Tensor file) {
        MemorySegment to = codes.bytes();
        MemorySegment from = file.bytes();
        long in = file.rows();
        long words = file.cols();
        int[] block = new int[PER_WORD];
        for (long first = 0; first < words; first += LINE) {
            long end = Math.min(words, first + LINE);
            for (long i = 0; i < codes.cols(); i++) {
                for (long k = first; k < end; k++) {
                    for (int r = 0; r < PER_WORD; r++) {
                        long row = PER_WORD * i + r;
                        block[r] = row < in ? from.getAtIndex(BitStream.WORD, row * words + k) : 0;
                    }
                    turn(block);
                    for (int j = 0; j < PER_WORD; j++) {
                        long at = (PER_WORD * k + j) * codes.cols() + i;
                        to.setAtIndex(BitStream.WORD, at, block[PLACE[j]]);
                    }
                }
            }
        }
    }

    /// The inverse of [#unpack].
    static void pack(Tensor file, Tensor codes) {
        MemorySegment to = file.bytes();
        MemorySegment from = codes.bytes();
        long in = file.rows();
        long words = file.cols();
        int[] block = new int[PER_WORD];
        for (long first = 0; first < words; first += LINE) {
            long end = Math.min(words, first + LINE);
            for (long i = 0; i < codes.cols(); i++) {
                for (long k = first; k < end; k++) {
                    for (int j = 0; j < PER_WORD; j++) {
                        long at = (PER_WORD * k + j) * codes.cols() + i;
                        block[PLACE[j]] = from.getAtIndex(BitStream.WORD, at);
                    }
                    turn(block);
                    for (int r = 0; r < PER_WORD && PER_WORD * i + r < in; r++) {
                        to.setAtIndex(BitStream.WORD, (PER_WORD * i + r) * words + k, block[r]);
                    }
                }
            }
        }
    }

    /// Transposes eight rows of eight 4-bit values: quarters of the block change places, then
    /// quarters of the quarters.
    private static void turn(int[] rows) {
        for (int half = PER_WORD / 2; half > 0; half /= 2) {
            int keep = half == 4 ? 0x0000ffff : half == 2 ? 0x00ff00ff : 0x0f0f0f0f;
            for (int r = 0; r < PER_WORD; r++) {
                if ((r & half) == 0) {
                    int swapped = (rows[r] >>> 4 * half ^ rows[r + half]) & keep;
                    rows[r] ^= swapped << 4 * half;
                    rows[r + half] ^= swapped;
                }
            }
        }
    }

    /// @param zeros U8 `[out, groups]`
    /// @param file I32 `[groups, out/8]`
    static void unpackZeros(Tensor zeros, Tensor file) {
        long groups = zeros.cols();
        for (long g = 0; g < groups; g++) {
            for (long o = 0; o < zeros.rows(); o++) {
                int word = file.bytes().getAtIndex(BitStream.WORD, g * file.cols() + o / PER_WORD);
                zeros.bytes().set(ValueLayout.JAVA_BYTE, o * groups + g, (byte) get(word, o));
            }
        }
    }

    /// The inverse of [#unpackZeros].
    static void packZeros(Tensor file, Tensor zeros) {
        long groups = zeros.cols();
        for (long g = 0; g < groups; g++) {
            for (long k = 0; k < file.cols(); k++) {
                int word = 0;
                for (int j = 0; j < PER_WORD; j++) {
                    long at = (PER_WORD * k + j) * groups + g;
                    word |= (zeros.bytes().get(ValueLayout.JAVA_BYTE, at) & 0xf) << 4 * PLACE[j];
                }
                file.bytes().setAtIndex(BitStream.WORD, g * file.cols() + k, word);
            }
        }
    }
}
