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
/// | `weight_scale`, `weight_zero_point`, `weight_g_idx` | see [IntegerScales] |
/// | `weight_shape` | I64 `[2]`: out, in |
///
/// compressed-tensors 0.19 and later refuse a config with a group index (`actorder: group`). Up to
/// 0.16, 3-bit values were packed ten to a word ([Gaps]); such files are read, and written the new
/// way.
///
/// @param gaps whether a width that does not divide 32 leaves bits of words unused, where the
///   tensor itself leaves that open
record PackQuantized(Encoding.Grid<Codes.Ints> grid, boolean gaps) implements Spelling {
    private static final String SHAPE = ".weight_shape";

    /// Codes may end inside a word: the shape beside them says how many there are.
    ///
    /// @return empty where none is there
    static OptionalLong parameters(TensorReader reader, String linear) {
        Checkpoint c = reader.checkpoint();
        boolean known =
                c.has(linear + SHAPE)
                        && c.info(linear + SHAPE).dtype() == DType.I64
                        && c.info(linear + SHAPE).shape().size() == 2;
        if (!known) {
            return OptionalLong.empty();
        }
        MemorySegment dims = reader.tensor(linear + SHAPE).bytes();
        long out = dims.getAtIndex(BitStream.LONG, 0);
        long in = dims.getAtIndex(BitStream.LONG, 1);
        Shape words = c.info(linear + Stored.PACKED).shape();
        // No word holds more than 32 codes; what does not fit is refused where it is decoded.
        boolean fits =
                words.rank() == 2 && out == words.dim(0) && in > 0 && in <= 32 * words.dim(1);
        return fits ? OptionalLong.of(out * in) : OptionalLong.empty();
    }

    /// The words as they are in the file.
    private record Words(Shape shape, Tensor stored, boolean gapped, int bits) {
        int code(long out, long in) {
            long first = out * stored.cols();
            return gapped
                    ? Gaps.get(stored.bytes(), first, 1, in, bits)
                    : BitStream.get(stored.bytes(), first, 1, in, bits);
        }

        void row(int[] codes, long out) {
            MemorySegment words = stored.bytes();
            long first = out * stored.cols();
            for (int i = 0; i < codes.length; i++) {
                codes[i] = Gaps.get(words, first, 1, i, bits);
            }
        }
    }

    @Override
    public Weight decode(TensorReader reader, String linear) {
        Words words = words(reader, linear);
        IntegerScales beside = beside(reader, linear, words);
        Tensor codes = words.gapped ? stream(words, reader.arena()) : words.stored;
        return beside.weight(codes, words.shape.dim(1));
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Words words = words(reader, linear);
        beside(reader, linear, words);
        return words.shape;
    }

    private IntegerScales beside(TensorReader reader, String linear, Words words) {
        return IntegerScales.read(reader, linear, grid, words.shape, words.gapped, words::code);
    }

    private Words words(TensorReader reader, String linear) {
        TensorInfo packed = reader.checkpoint().info(linear + Stored.PACKED);
        MemorySegment shape = reader.tensor(linear + SHAPE, DType.I64, 2).bytes();
        long out = shape.getAtIndex(BitStream.LONG, 0);
        long in = shape.getAtIndex(BitStream.LONG, 1);
        if (packed.shape().rank() != 2
                || packed.shape().dim(0) != out
                || in <= 0
                || in > packed.shape().dim(1) * 32) {
            throw new FormatException(
                    reader.checkpoint().file(packed.name()),
                    "%s does not hold a [%d, %d] weight".formatted(packed, out, in));
        }
        int bits = grid.codes().bits();
        boolean gapped = gapped(in, packed.shape().dim(1));
        long words = gapped ? Gaps.words(in, bits) : grid.codes().words(in);
        return new Words(
                new Shape(out, in),
                reader.tensor(packed.name(), DType.I32, out, words),
                gapped,
                bits);
    }

    /// Told by the width, or by the version where both widths are equal.
    private boolean gapped(long in, long words) {
        int bits = grid.codes().bits();
        boolean stream = words == grid.codes().words(in);
        boolean gapped = words == Gaps.words(in, bits);
        return stream && gapped ? 32 % bits != 0 && gaps : gapped;
    }

    private Tensor stream(Words words, SegmentAllocator memory) {
        long out = words.shape.dim(0);
        int[] row = new int[Math.toIntExact(words.shape.dim(1))];
        Tensor codes = Dequantizer.allocate(memory, DType.I32, out, grid.codes().words(row.length));
        for (long o = 0; o < out; o++) {
            words.row(row, o);
            BitStream.pack(codes.bytes(), o * codes.cols(), row, words.bits);
        }
        return codes;
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        String linear = layer.linear();
        Codes.Ints codes = grid.codes();
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(
                TensorInfo.of(
                        linear + Stored.PACKED, DType.I32, layer.out(), codes.words(layer.in())));
        plan.addAll(
                IntegerScales.plan(
                        layer,
                        codes,
                        TensorInfo.of(
                                linear + ZeroPoints.NAME,
                                DType.I32,
                                codes.words(layer.out()),
                                layer.tiles().across(layer.in()))));
        plan.add(TensorInfo.of(linear + SHAPE, DType.I64, 2));
        return List.copyOf(plan);
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Grouped w = Groups.grouped(Format.PACK.id(), linear, weight);
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + Stored.PACKED, w.codes());
        IntegerScales.encode(tensors, linear, w, dtype, ZeroPoints.packed(w, memory), memory);
        Tensor shape = Dequantizer.allocate(memory, DType.I64, 2);
        shape.bytes().setAtIndex(BitStream.LONG, 0, w.outFeatures());
        shape.bytes().setAtIndex(BitStream.LONG, 1, w.inFeatures());
        tensors.put(linear + SHAPE, shape);
        return tensors;
    }
}
