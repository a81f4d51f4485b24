// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
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
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.OptionalLong;
import java.util.SequencedMap;

/// compressed-tensors' `pack-quantized`: integers.
///
/// | tensor | |
/// |---|---|
/// | `weight_packed` | I32 `[out, ceil(in*bits/32)]`, one bit stream a row: [Weight.Grouped]'s codes |
/// | `weight_scale` | `[out, groups]` in the model's type |
/// | `weight_zero_point` | I32 `[ceil(out*bits/32), groups]`, a bit stream along the outputs; absent where symmetric |
/// | `weight_shape` | I64 `[2]`: out, in |
/// | `weight_g_idx` | I32 `[in]`; only where groups are not contiguous |
///
/// compressed-tensors 0.19 and later refuse a config with a group index (`actorder: group`). Up to
/// 0.16, 3-bit values were packed ten to a word; such files are read, and written the new way.
final class PackQuantized {
    static final String PACKED = ".weight_packed";
    static final String SCALE = ".weight_scale";
    private static final String ZERO = ".weight_zero_point";
    private static final String SHAPE = ".weight_shape";
    private static final String INDEX = ".weight_g_idx";

    private PackQuantized() {}

    /// Codes may end inside a word: the shape beside them says how many there are.
    static OptionalLong parameters(TensorReader reader, TensorInfo info) {
        Checkpoint c = reader.checkpoint();
        if (!info.name().endsWith(PACKED)) {
            return OptionalLong.empty();
        }
        String linear = info.name().substring(0, info.name().length() - PACKED.length());
        boolean known =
                c.has(linear + SHAPE)
                        && c.info(linear + SHAPE).dtype() == DType.I64
                        && c.info(linear + SHAPE).shape().size() == 2;
        if (!known) {
            return OptionalLong.empty();
        }
        MemorySegment dims = reader.tensor(linear + SHAPE).bytes();
        return OptionalLong.of(
                Math.multiplyExact(
                        dims.getAtIndex(BitStream.LONG, 0), dims.getAtIndex(BitStream.LONG, 1)));
    }

    /// Everything of a weight; codes as they are in the file.
    private record Parts(
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long in,
            boolean dense,
            Tensor scales,
            Tensor zeros,
            Tensor index) {}

    static Weight decode(
            TensorReader reader, String linear, Encoding.Grid<Codes.Ints> spec, boolean stream) {
        Parts p = parts(reader, linear, spec, stream);
        return new Weight.Grouped(
                Groups.withZeros(p.spec, p.zeros),
                p.in,
                codes(reader, linear, p.spec, p.out, p.in, p.dense),
                p.scales,
                p.zeros,
                p.index);
    }

    /// @param stream whether a width that does not divide 32 is packed without gaps, where the
    ///   tensor itself leaves that open
    static Shape require(
            TensorReader reader, String linear, Encoding.Grid<Codes.Ints> spec, boolean stream) {
        Parts p = parts(reader, linear, spec, stream);
        return new Shape(p.out, p.in);
    }

    private static Parts parts(
            TensorReader reader, String linear, Encoding.Grid<Codes.Ints> spec, boolean stream) {
        Checkpoint checkpoint = reader.checkpoint();
        Path file = checkpoint.file(linear + PACKED);
        TensorInfo packed = checkpoint.info(linear + PACKED);
        MemorySegment shape = reader.tensor(linear + SHAPE, DType.I64, 2).bytes();
        long out = shape.getAtIndex(BitStream.LONG, 0);
        long in = shape.getAtIndex(BitStream.LONG, 1);
        if (packed.shape().rank() != 2
                || packed.shape().dim(0) != out
                || in <= 0
                || in > packed.shape().dim(1) * 32) {
            throw new FormatException(
                    file, "%s does not hold a [%d, %d] weight".formatted(packed, out, in));
        }
        boolean dense = densePacking(stream, spec, in, packed.shape().dim(1));
        long words =
                dense
                        ? spec.codes().words(in)
                        : Math.ceilDiv(in, (long) (32 / spec.codes().bits()));
        MemorySegment codes = reader.tensor(linear + PACKED, DType.I32, out, words).bytes();
        DType dtype = checkpoint.info(linear + SCALE).dtype();
        long groups = spec.tiles().across(in);
        Tensor scales =
                Groups.requireFinite(
                        file,
                        linear + SCALE,
                        reader.tensor(
                                linear + SCALE, dtype.isFloat() ? dtype : DType.F32, out, groups));
        Tensor zeros = zeros(reader, linear, spec, out, groups, dense);
        Tensor index =
                Groups.index(
                        file,
                        linear + INDEX,
                        checkpoint.has(linear + INDEX)
                                ? reader.tensor(linear + INDEX, DType.I32, in)
                                : null,
                        spec);
        Groups.requireScaled(
                file,
                linear + SCALE,
                scales,
                spec,
                in,
                index,
                (o, i) ->
                        dense
                                ? BitStream.get(codes, o * words, 1, i, spec.codes().bits())
                                : gapped(codes, o * words, 1, i, spec.codes().bits()));
        return new Parts(spec, out, in, dense, scales, zeros, index);
    }

    /// Whether values follow each other without gaps: told by the width, or by the version where
    /// both widths are equal.
    private static boolean densePacking(
            boolean stream, Encoding.Grid<Codes.Ints> spec, long in, long words) {
        boolean dense = words == spec.codes().words(in);
        boolean gaps = words == Math.ceilDiv(in, (long) (32 / spec.codes().bits()));
        return dense && gaps ? 32 % spec.codes().bits() == 0 || stream : !gaps;
    }

    private static Tensor codes(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long in,
            boolean dense) {
        if (dense) {
            return reader.tensor(linear + PACKED, DType.I32, out, spec.codes().words(in));
        }
        int perWord = 32 / spec.codes().bits();
        long words = Math.ceilDiv(in, (long) perWord);
        MemorySegment from = reader.tensor(linear + PACKED, DType.I32, out, words).bytes();
        Tensor codes = Dequantizer.allocate(reader.arena(), DType.I32, out, spec.codes().words(in));
        MemorySegment to = codes.bytes();
        for (long o = 0; o < out; o++) {
            for (long i = 0; i < in; i++) {
                int value = gapped(from, o * words, 1, i, spec.codes().bits());
                BitStream.put(to, o * codes.cols(), 1, i, spec.codes().bits(), value);
            }
        }
        return codes;
    }

    /// Value `i` where a word holds `32 / bits` values and leaves its top bits unused.
    private static int gapped(MemorySegment words, long first, long stride, long i, int bits) {
        int perWord = 32 / bits;
        int word = words.getAtIndex(BitStream.WORD, first + i / perWord * stride);
        return word >>> (int) (i % perWord) * bits & (1 << bits) - 1;
    }

    private static Tensor zeros(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Ints> spec,
            long out,
            long groups,
            boolean dense) {
        if (!reader.checkpoint().has(linear + ZERO)) {
            return Groups.middleZeros(spec, out, groups, reader.arena());
        }
        TensorInfo info = reader.checkpoint().info(linear + ZERO);
        Tensor zeros = Dequantizer.allocate(reader.arena(), DType.U8, out, groups);
        if (info.dtype() == DType.I8) {
            // Older files hold them as they are: signed, one a byte.
            MemorySegment from = reader.tensor(linear + ZERO, DType.I8, out, groups).bytes();
            for (long i = 0; i < from.byteSize(); i++) {
                int zero = from.get(ValueLayout.JAVA_BYTE, i) + spec.codes().middleCode();
                if (zero < 0 || zero > spec.codes().maxCode()) {
                    throw new FormatException(
                            reader.checkpoint().file(linear + ZERO),
                            "'%s' is %d at element %d, expected %d to %d for %d bits"
                                    .formatted(
                                            linear + ZERO,
                                            zero - spec.codes().middleCode(),
                                            i,
                                            -spec.codes().middleCode(),
                                            spec.codes().maxCode() - spec.codes().middleCode(),
                                            spec.codes().bits()));
                }
                zeros.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) zero);
            }
            return zeros;
        }
        long rows =
                dense
                        ? spec.codes().words(out)
                        : Math.ceilDiv(out, (long) (32 / spec.codes().bits()));
        MemorySegment words = reader.tensor(linear + ZERO, DType.I32, rows, groups).bytes();
        if (dense) {
            return Groups.unpackZeros(
                    words, spec, new Shape(out, groups), 1, groups, 0, reader.arena());
        }
        for (long o = 0; o < out; o++) {
            for (long g = 0; g < groups; g++) {
                int zero = gapped(words, g, groups, o, spec.codes().bits());
                zeros.bytes().set(ValueLayout.JAVA_BYTE, o * groups + g, (byte) zero);
            }
        }
        return zeros;
    }

    static List<TensorInfo> plan(LayerPlan layer, Codes.Ints codes) {
        String linear = layer.linear();
        long groups = layer.tiles().across(layer.in());
        DType scales = layer.grid().scaleType();
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(TensorInfo.of(linear + PACKED, DType.I32, layer.out(), codes.words(layer.in())));
        plan.add(TensorInfo.of(linear + SCALE, scales, layer.out(), groups));
        if (!codes.symmetric()) {
            plan.add(TensorInfo.of(linear + ZERO, DType.I32, codes.words(layer.out()), groups));
        }
        plan.add(TensorInfo.of(linear + SHAPE, DType.I64, 2));
        if (layer.groupIndex()) {
            plan.add(TensorInfo.of(linear + INDEX, DType.I32, layer.in()));
        }
        return List.copyOf(plan);
    }

    static SequencedMap<String, Tensor> encode(
            String linear, Weight.Grouped w, DType dtype, SegmentAllocator memory) {
        Encoding.Grid<Codes.Ints> spec = w.grid();
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + PACKED, w.codes());
        tensors.put(linear + SCALE, Groups.scales(w.scales(), dtype, memory));
        if (!spec.codes().symmetric()) {
            long groups = w.zeros().cols();
            Tensor packed =
                    Dequantizer.allocate(
                            memory, DType.I32, spec.codes().words(w.outFeatures()), groups);
            Groups.packZeros(packed.bytes(), w, 1, groups, 0);
            tensors.put(linear + ZERO, packed);
        }
        Tensor shape = Dequantizer.allocate(memory, DType.I64, 2);
        shape.bytes().setAtIndex(BitStream.LONG, 0, w.outFeatures());
        shape.bytes().setAtIndex(BitStream.LONG, 1, w.inFeatures());
        tensors.put(linear + SHAPE, shape);
        if (w.groupIndex() != null) {
            tensors.put(linear + INDEX, w.groupIndex());
        }
        return tensors;
    }
}
