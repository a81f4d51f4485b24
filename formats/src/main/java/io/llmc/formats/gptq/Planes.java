// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gptq;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// GPTQModel's planar packing: 32 codes of `b` bits take `b` words, in which no code straddles two.
/// Each code is cut into planes of 4, 2 or 1 bits, the low bits first: 5 = 4 + 1, 6 = 4 + 2, 7 = 4
/// + 2 + 1, 3 = 2 + 1. A plane of `w` bits is a stream of its own and takes `w` words. Where there
///   is one plane, as of 2, 4 and 8 bits, that is the plain stream.
final class Planes {
    private static final int BLOCK = 32;

    private Planes() {}

    /// Bits of the plane that begins at bit `offset` of codes: the largest power of two that they
    /// have left.
    private static int width(int bits, int offset) {
        return Integer.highestOneBit(bits - offset);
    }

    private static boolean single(int bits) {
        return width(bits, 0) == bits;
    }

    /// Code `i` of planes whose words are `first`, `first + stride`, ...
    static int get(MemorySegment words, long first, long stride, long i, int bits) {
        int code = 0;
        for (int offset = 0; offset < bits; ) {
            int width = width(bits, offset);
            long plane = first + (i / BLOCK * bits + offset) * stride;
            code |= BitStream.get(words, plane, stride, i % BLOCK, width) << offset;
            offset += width;
        }
        return code;
    }

    /// Rows of planes as rows of plain streams.
    ///
    /// @param planes I32 `[rows, words]`
    static Tensor stream(Tensor planes, int bits, SegmentAllocator memory) {
        if (single(bits)) {
            return planes;
        }
        Tensor stream = Dequantizer.allocate(memory, planes.dtype(), planes.shape().dims());
        long codes = planes.cols() * BLOCK / bits;
        for (long r = 0; r < planes.rows(); r++) {
            long first = r * planes.cols();
            for (long i = 0; i < codes; i++) {
                int code = get(planes.bytes(), first, 1, i, bits);
                BitStream.put(stream.bytes(), first, 1, i, bits, code);
            }
        }
        return stream;
    }

    /// The inverse of [#stream].
    static Tensor planes(Tensor stream, int bits, SegmentAllocator memory) {
        if (single(bits)) {
            return stream;
        }
        Tensor planes = Dequantizer.allocate(memory, stream.dtype(), stream.shape().dims());
        long codes = stream.cols() * BLOCK / bits;
        for (long r = 0; r < stream.rows(); r++) {
            long first = r * stream.cols();
            for (long i = 0; i < codes; i++) {
                int code = BitStream.get(stream.bytes(), first, 1, i, bits);
                put(planes.bytes(), first + i / BLOCK * bits, i % BLOCK, bits, code);
            }
        }
        return planes;
    }

    private static void put(MemorySegment words, long block, long i, int bits, int code) {
        for (int offset = 0; offset < bits; ) {
            int width = width(bits, offset);
            int part = code >>> offset & (1 << width) - 1;
            BitStream.put(words, block + offset, 1, i, width, part);
            offset += width;
        }
    }
}
