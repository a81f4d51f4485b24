// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gptq;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.util.List;

/// What `checkpoint_format` says: how codes and zero points lie in their words.
enum Version {
    /// Zero points less one. Its writers subtract from the whole word, so where a zero point is 0,
    /// as in asymmetric files of theirs, it borrows from its neighbour, and readers differ. Such a
    /// file is read as its writer meant it, and llmc never writes one.
    V1("gptq", 1, List.of(2, 3, 4, 8)),
    /// Zero points as they are.
    V2("gptq_v2", 0, List.of(2, 3, 4, 8)),
    /// Zero points as they are; they and the codes are no streams but [Planes].
    PLANAR("gptq_p", 0, List.of(2, 3, 4, 5, 6, 7, 8));

    private final String format;
    private final int less;
    private final List<Integer> bits;

    Version(String format, int less, List<Integer> bits) {
        this.format = format;
        this.less = less;
        this.bits = bits;
    }

    String format() {
        return format;
    }

    /// The smallest zero point that can be written.
    int less() {
        return less;
    }

    /// Bits of codes that there is a form for.
    List<Integer> bits() {
        return bits;
    }

    /// Of which rows and columns must be multiples, so that they fill whole words.
    int multiple(int width) {
        return this == PLANAR ? 32 : 32 / Integer.lowestOneBit(width);
    }

    /// Code `i` of words `first`, `first + stride`, ...
    int code(MemorySegment words, long first, long stride, long i, int width) {
        return this == PLANAR
                ? Planes.get(words, first, stride, i, width)
                : BitStream.get(words, first, stride, i, width);
    }

    /// Rows of words as [Weight.Grouped] has them.
    Tensor stream(Tensor rows, int width, SegmentAllocator memory) {
        return this == PLANAR ? Planes.stream(rows, width, memory) : rows;
    }

    /// The inverse of [#stream].
    Tensor rows(Tensor stream, int width, SegmentAllocator memory) {
        return this == PLANAR ? Planes.planes(stream, width, memory) : stream;
    }

    /// Zero points U8 `[out, groups]`.
    ///
    /// @param stored I32 `[groups, out * bits / 32]`
    Tensor zeros(Tensor stored, Encoding.Grid<Codes.Ints> grid, long out, SegmentAllocator memory) {
        long groups = stored.rows();
        long words = stored.cols();
        int width = grid.codes().bits();
        Tensor rows = stream(stored, width, memory);
        int add = less;
        // Of 3 bits, a field would straddle the words that are subtracted from.
        if (this == V1 && width != 3) {
            int ones = Integer.divideUnsigned(-1, grid.codes().maxCode()); // 0x11111111 for 4 bits
            rows = Dequantizer.allocate(memory, DType.I32, groups, words);
            for (long i = 0; i < groups * words; i++) {
                int word = stored.bytes().getAtIndex(BitStream.WORD, i);
                rows.bytes().setAtIndex(BitStream.WORD, i, word + ones);
            }
            add = 0;
        }
        return Groups.unpackZeros(
                rows.bytes(), grid, new Shape(out, groups), words, 1, add, memory);
    }

    /// The inverse of [#zeros(Tensor, Encoding.Grid, long, SegmentAllocator)].
    ///
    /// @throws UserException where a zero point is 0, and readers would disagree about it
    Tensor zeros(String linear, Weight.Grouped w, SegmentAllocator memory) {
        MemorySegment bytes = w.zeros().bytes();
        for (long i = 0; less > 0 && i < bytes.byteSize(); i++) {
            if (bytes.get(ValueLayout.JAVA_BYTE, i) == 0) {
                throw new UserException(
                        "'%s' has a zero point of 0, which %s cannot hold: its readers disagree about it"
                                .formatted(linear, format),
                        "use {save.layout} gptq_v2 or compressed-tensors");
            }
        }
        long words = w.grid().codes().words(w.outFeatures());
        Tensor stored = Dequantizer.allocate(memory, DType.I32, w.zeros().cols(), words);
        Groups.packZeros(stored.bytes(), w, words, 1, less);
        return rows(stored, w.grid().codes().bits(), memory);
    }
}
