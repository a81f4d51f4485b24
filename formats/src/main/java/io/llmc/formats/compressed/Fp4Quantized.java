// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// compressed-tensors' `nvfp4-pack-quantized` and `mxfp4-pack-quantized`: floats of four bits, two
/// a byte, as `weight_packed` U8 `[out, in/2]` beside [FloatScales].
record Fp4Quantized(Encoding.Grid<Codes.Floats> grid) implements Spelling {
    @Override
    public Weight decode(TensorReader reader, String linear) {
        FloatScales beside = beside(reader, linear, shape(reader, linear));
        return new Weight.Scaled(
                grid, reader.tensor(linear + Stored.PACKED), beside.scales(), beside.global());
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Shape shape = shape(reader, linear);
        beside(reader, linear, shape);
        return shape;
    }

    private FloatScales beside(TensorReader reader, String linear, Shape shape) {
        return FloatScales.read(
                reader, linear, grid, shape, () -> reader.tensor(linear + Stored.PACKED));
    }

    private static Shape shape(TensorReader reader, String linear) {
        Shape bytes = Stored.matrix(reader.checkpoint(), linear + Stored.PACKED, DType.U8);
        return new Shape(bytes.dim(0), 2 * bytes.dim(1));
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        if (layer.in() % 2 != 0) {
            throw new UserException(
                    "%s has %d inputs, but floats of four bits are stored in pairs"
                            .formatted(layer.linear(), layer.in()),
                    "leave the layer out with {ignore}");
        }
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(
                TensorInfo.of(
                        layer.linear() + Stored.PACKED, DType.U8, layer.out(), layer.in() / 2));
        plan.addAll(FloatScales.plan(layer));
        return List.copyOf(plan);
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Scaled w = (Weight.Scaled) weight;
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + Stored.PACKED, w.codes());
        FloatScales.encode(tensors, linear, w, dtype, memory);
        return tensors;
    }
}
