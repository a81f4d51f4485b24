// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;

/// `weight_zero_point`: I8 `[out, groups]`, counted from `-2^(bits-1)`; or, in `pack-quantized`,
/// I32 `[ceil(out*bits/32), groups]`, a stream of codes along the outputs for each group.
final class ZeroPoints {
    static final String NAME = ".weight_zero_point";

    private ZeroPoints() {}

    /// @param shape out, groups
    /// @param gaps whether those that are packed leave bits of words unused
    /// @return U8, as codes count
    static Tensor read(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Ints> grid,
            Shape shape,
            boolean gaps) {
        String name = linear + NAME;
        long out = shape.dim(0);
        long groups = shape.dim(1);
        if (!reader.checkpoint().has(name)) {
            return Groups.middleZeros(grid, out, groups, reader.arena());
        }
        if (reader.checkpoint().info(name).dtype() == DType.I8) {
            return signed(reader, name, grid.codes(), shape);
        }
        int bits = grid.codes().bits();
        long rows = gaps ? Gaps.words(out, bits) : grid.codes().words(out);
        MemorySegment words = reader.tensor(name, DType.I32, rows, groups).bytes();
        if (!gaps) {
            return Groups.unpackZeros(words, grid, shape, 1, groups, 0, reader.arena());
        }
        Tensor zeros = Dequantizer.allocate(reader.arena(), DType.U8, out, groups);
        for (long o = 0; o < out; o++) {
            for (long g = 0; g < groups; g++) {
                int zero = Gaps.get(words, g, groups, o, bits);
                zeros.bytes().set(ValueLayout.JAVA_BYTE, o * groups + g, (byte) zero);
            }
        }
        return zeros;
    }

    private static Tensor signed(TensorReader reader, String name, Codes.Ints codes, Shape shape) {
        MemorySegment from = reader.tensor(name, DType.I8, shape.dims()).bytes();
        Tensor zeros = Dequantizer.allocate(reader.arena(), DType.U8, shape.dims());
        MemorySegment to = zeros.bytes();
        int middle = codes.middleCode();
        for (long i = 0; i < from.byteSize(); i++) {
            int zero = from.get(ValueLayout.JAVA_BYTE, i) + middle;
            if (zero < 0 || zero > codes.maxCode()) {
                throw new FormatException(
                        reader.checkpoint().file(name),
                        "'%s' is %d at element %d, expected %d to %d for %d bits"
                                .formatted(
                                        name, zero - middle, i, -middle, middle - 1, codes.bits()));
            }
            to.set(ValueLayout.JAVA_BYTE, i, (byte) zero);
        }
        return zeros;
    }

    /// As words that hold one stream a group; null where the weight is symmetric.
    static Tensor packed(Weight.Grouped w, SegmentAllocator memory) {
        Codes.Ints codes = w.grid().codes();
        if (codes.symmetric()) {
            return null;
        }
        long groups = w.zeros().cols();
        Tensor packed =
                Dequantizer.allocate(memory, DType.I32, codes.words(w.outFeatures()), groups);
        Groups.packZeros(packed.bytes(), w, 1, groups, 0);
        return packed;
    }

    /// One a byte; null where the weight is symmetric.
    static Tensor signed(Weight.Grouped w, SegmentAllocator memory) {
        if (w.grid().codes().symmetric()) {
            return null;
        }
        Tensor signed = Dequantizer.allocate(memory, DType.I8, w.zeros().rows(), w.zeros().cols());
        MemorySegment from = w.zeros().bytes();
        MemorySegment to = signed.bytes();
        int middle = w.grid().codes().middleCode();
        for (long i = 0; i < to.byteSize(); i++) {
            int zero = from.get(ValueLayout.JAVA_BYTE, i) & 0xff;
            to.set(ValueLayout.JAVA_BYTE, i, (byte) (zero - middle));
        }
        return signed;
    }
}
