// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;

/// What layouts have in common about scales, zero points and the assignment of inputs to groups.
public final class Groups {
    private Groups() {}

    /// A group index that says something: null where groups are contiguous anyway, or where every
    /// entry is -1, which means that no order was recorded.
    ///
    /// @param index I32 `[in]`, or null
    /// @throws FormatException where an input belongs to no group
    public static Tensor index(
            Path file, String name, Tensor index, Encoding.Grid<Codes.Ints> spec) {
        if (index == null) {
            return null;
        }
        long in = index.rows();
        long length = spec.tiles().width(in);
        long groups = spec.tiles().across(in);
        MemorySegment bytes = index.bytes();
        boolean contiguous = true;
        boolean unset = true;
        long wrong = -1;
        for (long i = in - 1; i >= 0; i--) {
            int group = bytes.getAtIndex(BitStream.WORD, i);
            contiguous &= group == i / length;
            unset &= group == -1;
            if (group < 0 || group >= groups) {
                wrong = i;
            }
        }
        if (wrong >= 0 && !unset) {
            throw new FormatException(
                    file,
                    "'%s' puts input %d into group %d of %d"
                            .formatted(
                                    name, wrong, bytes.getAtIndex(BitStream.WORD, wrong), groups));
        }
        return contiguous || unset ? null : index;
    }

    /// Scales that weights can be made of; before anything is made of them, since they are few.
    ///
    /// @throws FormatException where one is NaN or infinite
    public static Tensor requireFinite(Path file, String name, Tensor scales) {
        MemorySegment bytes = scales.bytes();
        for (long i = 0; i < scales.shape().size(); i++) {
            float scale = Floats.get(bytes, scales.dtype(), i);
            if (!Float.isFinite(scale)) {
                throw new FormatException(
                        file,
                        "'%s' is %s at element %d, expected a number: download the model again"
                                .formatted(name, scale, i));
            }
        }
        return scales;
    }

    /// The code of an input of an output.
    @FunctionalInterface
    public interface CodeAt {
        int at(long out, long in);
    }

    /// A scale of 0 makes nothing of a group: good only where its codes say nothing, all alike.
    ///
    /// @param scales `[out, groups]`
    /// @param index as [#index] gives it
    /// @throws FormatException where values are lost, as those whose scale was below its type
    public static void requireScaled(
            Path file,
            String name,
            Tensor scales,
            Encoding.Grid<Codes.Ints> spec,
            long in,
            Tensor index,
            CodeAt of) {
        long groups = scales.cols();
        long length = spec.tiles().width(in);
        for (long i = 0; i < scales.shape().size(); i++) {
            if (Floats.get(scales.bytes(), scales.dtype(), i) != 0) {
                continue;
            }
            long out = i / groups;
            long group = i % groups;
            long from = index == null ? group * length : 0;
            long end = index == null ? Math.min(in, from + length) : in;
            int first = -1;
            for (long k = from; k < end; k++) {
                if (index != null && index.bytes().getAtIndex(BitStream.WORD, k) != group) {
                    continue;
                }
                int code = of.at(out, k);
                if (first >= 0 && code != first) {
                    throw new FormatException(
                            file,
                            "'%s' is 0 for output %d, group %d, whose codes are not alike: its values are lost; quantize the original model again, with scales of a wider type"
                                    .formatted(name, out, group));
                }
                first = code;
            }
        }
    }

    /// I32 `[in]`: the group index of a weight, written out where groups are contiguous.
    public static Tensor writtenIndex(Weight.Grouped weight, SegmentAllocator memory) {
        if (weight.groupIndex() != null) {
            return weight.groupIndex();
        }
        long in = weight.inFeatures();
        long length = weight.grid().tiles().width(in);
        Tensor index = Dequantizer.allocate(memory, DType.I32, in);
        MemorySegment bytes = index.bytes();
        for (long i = 0; i < in; i++) {
            bytes.setAtIndex(BitStream.WORD, i, (int) (i / length));
        }
        return index;
    }

    /// U8 `[out, groups]`, all the middle code.
    public static Tensor middleZeros(
            Encoding.Grid<Codes.Ints> spec, long out, long groups, SegmentAllocator memory) {
        Tensor zeros = Dequantizer.allocate(memory, DType.U8, out, groups);
        zeros.bytes().fill((byte) spec.codes().middleCode());
        return zeros;
    }

    /// The spec with symmetry as the zero points really are, where a config claims it.
    public static Encoding.Grid<Codes.Ints> withZeros(
            Encoding.Grid<Codes.Ints> spec, Tensor zeros) {
        if (!spec.codes().symmetric() || allMiddle(spec, zeros)) {
            return spec;
        }
        return Encoding.ints(spec.codes().bits(), spec.tiles().cols(), false);
    }

    private static boolean allMiddle(Encoding.Grid<Codes.Ints> spec, Tensor zeros) {
        MemorySegment bytes = zeros.bytes();
        for (long i = 0; i < bytes.byteSize(); i++) {
            if (bytes.get(ValueLayout.JAVA_BYTE, i) != (byte) spec.codes().middleCode()) {
                return false;
            }
        }
        return true;
    }

    /// Zero points from one stream along the outputs for each group.
    ///
    /// @param shape of the zero points, `[out, groups]`
    /// @param groupStep words between the streams of two groups
    /// @param stride words between two words of one stream
    /// @param add to each value, modulo `2^bits`
    public static Tensor unpackZeros(
            MemorySegment words,
            Encoding.Grid<Codes.Ints> spec,
            Shape shape,
            long groupStep,
            long stride,
            int add,
            SegmentAllocator memory) {
        long groups = shape.dim(1);
        Tensor zeros = Dequantizer.allocate(memory, DType.U8, shape.dims());
        MemorySegment bytes = zeros.bytes();
        for (long o = 0; o < shape.dim(0); o++) {
            for (long g = 0; g < groups; g++) {
                int zero = BitStream.get(words, g * groupStep, stride, o, spec.codes().bits());
                bytes.set(
                        ValueLayout.JAVA_BYTE,
                        o * groups + g,
                        (byte) (zero + add & spec.codes().maxCode()));
            }
        }
        return zeros;
    }

    /// The inverse of [#unpackZeros], into zeroed words.
    ///
    /// @param subtract from each zero point, which must not become negative
    public static void packZeros(
            MemorySegment words, Weight.Grouped weight, long groupStep, long stride, int subtract) {
        Encoding.Grid<Codes.Ints> spec = weight.grid();
        long groups = weight.zeros().cols();
        MemorySegment bytes = weight.zeros().bytes();
        for (long o = 0; o < weight.outFeatures(); o++) {
            for (long g = 0; g < groups; g++) {
                int zero = bytes.get(ValueLayout.JAVA_BYTE, o * groups + g) & 0xff;
                if (zero < subtract || zero > spec.codes().maxCode()) {
                    throw new IllegalArgumentException(
                            "zero point %d is not within [%d, %d]"
                                    .formatted(zero, subtract, spec.codes().maxCode()));
                }
                BitStream.put(
                        words, g * groupStep, stride, o, spec.codes().bits(), zero - subtract);
            }
        }
    }

    /// Scales `[out, groups]` in another type, or as they are.
    public static Tensor scales(Tensor scales, DType dtype, SegmentAllocator memory) {
        if (scales.dtype() == dtype) {
            return scales;
        }
        Tensor converted = Dequantizer.allocate(memory, dtype, scales.rows(), scales.cols());
        Dequantizer.convert(converted, scales);
        return converted;
    }

    /// A matrix of 4-byte or 2-byte elements, turned.
    public static Tensor transposed(Tensor in, SegmentAllocator memory) {
        long rows = in.rows();
        long cols = in.cols();
        Tensor out = Dequantizer.allocate(memory, in.dtype(), cols, rows);
        if (in.dtype().bytes() == 4) {
            BitStream.transposeWords(out.bytes(), in.bytes(), rows, cols);
        } else {
            BitStream.transposeShorts(out.bytes(), in.bytes(), rows, cols);
        }
        return out;
    }

    public static Weight.Grouped grouped(String layout, String linear, Weight weight) {
        if (weight instanceof Weight.Grouped grouped) {
            return grouped;
        }
        throw notPacked(layout, linear, weight);
    }

    public static IllegalArgumentException notPacked(String layout, String linear, Weight weight) {
        return new IllegalArgumentException(
                "'%s' is %s, but %s holds packed weights"
                        .formatted(
                                linear,
                                weight instanceof Weight.Dense
                                        ? "dense"
                                        : weight.encoding().describe(),
                                layout));
    }
}
