// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
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
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// compressed-tensors' `int-quantized`, and `naive-quantized` of integers: a byte each, of however
/// few bits they are.
///
/// | tensor | |
/// |---|---|
/// | `weight` | I8 `[out, in]`: codes less the middle code |
/// | `weight_scale`, `weight_zero_point`, `weight_g_idx` | see [IntegerScales] |
record IntQuantized(Encoding.Grid<Codes.Ints> grid) implements Spelling {
    @Override
    public Weight decode(TensorReader reader, String linear) {
        Shape shape = Stored.shape(reader, linear, DType.I8);
        IntegerScales beside = beside(reader, linear, shape);
        Tensor stored = Stored.codes(reader, linear, DType.I8);
        return beside.weight(stream(reader, linear, stored), shape.dim(1));
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Shape shape = Stored.shape(reader, linear, DType.I8);
        beside(reader, linear, shape);
        return shape;
    }

    private IntegerScales beside(TensorReader reader, String linear, Shape shape) {
        return IntegerScales.read(
                reader,
                linear,
                grid,
                shape,
                false,
                (o, i) ->
                        Stored.codes(reader, linear, DType.I8)
                                .bytes()
                                .get(ValueLayout.JAVA_BYTE, o * shape.dim(1) + i));
    }

    private Tensor stream(TensorReader reader, String linear, Tensor stored) {
        int in = Math.toIntExact(stored.cols());
        Codes.Ints ints = grid.codes();
        MemorySegment from = stored.bytes();
        Tensor codes =
                Dequantizer.allocate(reader.arena(), DType.I32, stored.rows(), ints.words(in));
        int[] row = new int[in];
        int seen = 0;
        for (long o = 0; o < stored.rows(); o++) {
            for (int i = 0; i < in; i++) {
                row[i] = from.get(ValueLayout.JAVA_BYTE, o * in + i) + ints.middleCode();
                seen |= row[i];
            }
            if ((seen & ~ints.maxCode()) != 0) {
                throw beyond(reader, linear, o, row);
            }
            BitStream.pack(codes.bytes(), o * codes.cols(), row, ints.bits());
        }
        return codes;
    }

    private FormatException beyond(TensorReader reader, String linear, long out, int[] row) {
        int middle = grid.codes().middleCode();
        int in = 0;
        while ((row[in] & ~grid.codes().maxCode()) == 0) {
            in++;
        }
        String name = linear + Stored.CODES;
        return new FormatException(
                reader.checkpoint().directory(),
                "'%s' is %d at [%d, %d], expected %d to %d for %d bits"
                        .formatted(
                                name,
                                row[in] - middle,
                                out,
                                in,
                                -middle,
                                middle - 1,
                                grid.codes().bits()));
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        String linear = layer.linear();
        long groups = layer.tiles().across(layer.in());
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(TensorInfo.of(linear + Stored.CODES, DType.I8, layer.out(), layer.in()));
        plan.addAll(
                IntegerScales.plan(
                        layer,
                        grid.codes(),
                        TensorInfo.of(linear + ZeroPoints.NAME, DType.I8, layer.out(), groups)));
        return List.copyOf(plan);
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Grouped w = Groups.grouped(Format.INT.id(), linear, weight);
        int[] row = new int[Math.toIntExact(w.inFeatures())];
        int middle = w.grid().codes().middleCode();
        Tensor stored = Dequantizer.allocate(memory, DType.I8, w.outFeatures(), row.length);
        MemorySegment to = stored.bytes();
        MemorySegment codes = w.codes().bytes();
        int bits = w.grid().codes().bits();
        for (long o = 0; o < w.outFeatures(); o++) {
            BitStream.unpack(row, codes, o * w.codes().cols(), bits);
            for (int i = 0; i < row.length; i++) {
                to.set(ValueLayout.JAVA_BYTE, o * row.length + i, (byte) (row[i] - middle));
            }
        }
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + Stored.CODES, stored);
        IntegerScales.encode(tensors, linear, w, dtype, ZeroPoints.signed(w, memory), memory);
        return tensors;
    }
}
