// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

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
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.SegmentAllocator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// compressed-tensors' `float-quantized`: small floats, a byte each.
///
/// | tensor | |
/// |---|---|
/// | `weight` | F8_E4M3 `[out, in]`: [Weight.Scaled]'s codes |
/// | `weight_scale` | in the model's type; `[out, 1]` for a scale a row, `[1]` for one |
final class FloatQuantized {
    static final String CODES = ".weight";
    private static final String SCALE = ".weight_scale";

    private FloatQuantized() {}

    static Weight decode(TensorReader reader, String linear, Encoding.Grid<Codes.Floats> grid) {
        Shape shape = matrix(reader, linear);
        DType type = grid.codes().type();
        return new Weight.Scaled(
                grid,
                reader.tensor(linear + CODES, type, shape.dim(0), shape.dim(1)),
                scales(reader, linear, grid, shape));
    }

    static Shape require(TensorReader reader, String linear, Encoding.Grid<Codes.Floats> grid) {
        Shape shape = matrix(reader, linear);
        scales(reader, linear, grid, shape);
        return shape;
    }

    private static Shape matrix(TensorReader reader, String linear) {
        TensorInfo info = reader.checkpoint().info(linear + CODES);
        if (info.shape().rank() != 2) {
            throw new FormatException(
                    reader.checkpoint().file(info.name()), info + ", expected a matrix");
        }
        return info.shape();
    }

    private static Tensor scales(
            TensorReader reader, String linear, Encoding.Grid<Codes.Floats> grid, Shape shape) {
        Checkpoint c = reader.checkpoint();
        DType stored = c.info(linear + SCALE).dtype();
        DType type = stored.isFloat() ? stored : DType.F32;
        long down = grid.tiles().down(shape.dim(0));
        long across = grid.tiles().across(shape.dim(1));
        Tensor scales =
                grid.tiles().equals(Tiles.TENSOR)
                        ? reader.tensor(linear + SCALE, type, 1)
                        : reader.tensor(linear + SCALE, type, down, across);
        return Groups.requireFinite(c.file(linear + SCALE), linear + SCALE, scales)
                .reshape(down, across);
    }

    static List<TensorInfo> plan(LayerPlan layer) {
        Tiles tiles = layer.tiles();
        String linear = layer.linear();
        DType scales = layer.grid().scaleType();
        DType codes = ((Codes.Floats) layer.codes()).type();
        return List.of(
                TensorInfo.of(linear + CODES, codes, layer.out(), layer.in()),
                tiles.equals(Tiles.TENSOR)
                        ? TensorInfo.of(linear + SCALE, scales, 1)
                        : TensorInfo.of(
                                linear + SCALE,
                                scales,
                                tiles.down(layer.out()),
                                tiles.across(layer.in())));
    }

    static SequencedMap<String, Tensor> encode(
            String linear, Weight.Scaled w, DType dtype, SegmentAllocator memory) {
        Tensor scales = Groups.scales(w.scales(), dtype, memory);
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(linear + CODES, w.codes());
        tensors.put(
                linear + SCALE, w.grid().tiles().equals(Tiles.TENSOR) ? scales.reshape(1) : scales);
        return tensors;
    }
}
