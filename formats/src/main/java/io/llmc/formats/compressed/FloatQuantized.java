// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
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

/// compressed-tensors' `float-quantized`, `naive-quantized` of floats and `mxfp8-quantized`: small
/// floats, a byte each, as `weight` F8_E4M3 `[out, in]` beside [FloatScales].
record FloatQuantized(Encoding.Grid<Codes.Floats> grid) implements Spelling {
    @Override
    public Weight decode(TensorReader reader, String linear) {
        Shape shape = Stored.shape(reader, linear, grid.codes().type());
        FloatScales beside = beside(reader, linear, shape);
        return new Weight.Scaled(grid, codes(reader, linear), beside.scales(), beside.global());
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Shape shape = Stored.shape(reader, linear, grid.codes().type());
        beside(reader, linear, shape);
        return shape;
    }

    private FloatScales beside(TensorReader reader, String linear, Shape shape) {
        return FloatScales.read(reader, linear, grid, shape, () -> codes(reader, linear));
    }

    private Tensor codes(TensorReader reader, String linear) {
        return Stored.codes(reader, linear, grid.codes().type());
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(
                TensorInfo.of(
                        layer.linear() + Stored.CODES,
                        grid.codes().type(),
                        layer.out(),
                        layer.in()));
        plan.addAll(FloatScales.plan(layer));
        return List.copyOf(plan);
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        Weight.Scaled w = (Weight.Scaled) weight;
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + Stored.CODES, w.codes());
        FloatScales.encode(tensors, linear, w, dtype, memory);
        return tensors;
    }
}
