// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.Dequantizer;
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
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.List;
import java.util.SequencedMap;

/// What stands beside integers in all formats.
///
/// | tensor | |
/// |---|---|
/// | `weight_scale` | `[out, groups]` in the model's type, `[1]` for one |
/// | `weight_zero_point` | see [ZeroPoints]; absent where symmetric |
/// | `weight_g_idx` | I32 `[in]`; only where groups are not contiguous |
///
/// A negative scale is one: auto-round writes them.
///
/// @param grid symmetric only where the zero points are
/// @param scales `[out, groups]`
/// @param zeros U8 `[out, groups]`
/// @param index null where groups are contiguous
record IntegerScales(Encoding.Grid<Codes.Ints> grid, Tensor scales, Tensor zeros, Tensor index) {
    private static final String INDEX = ".weight_g_idx";

    /// @param shape out, in
    /// @param gaps whether zero points that are packed leave bits of words unused
    /// @param codes asked for where a scale is 0
    static IntegerScales read(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Ints> grid,
            Shape shape,
            boolean gaps,
            Groups.CodeAt codes) {
        Checkpoint c = reader.checkpoint();
        String name = linear + Stored.SCALE;
        long out = shape.dim(0);
        long in = shape.dim(1);
        long groups = grid.tiles().across(in);
        DType type = Stored.scaleType(c, name);
        Tensor scales =
                grid.tiles().equals(Tiles.TENSOR)
                        ? repeated(reader.tensor(name, type, 1), out, reader.arena())
                        : reader.tensor(name, type, out, groups);
        Groups.requireFinite(c.file(name), name, scales);
        Tensor zeros = ZeroPoints.read(reader, linear, grid, new Shape(out, groups), gaps);
        Tensor stored = c.has(linear + INDEX) ? reader.tensor(linear + INDEX, DType.I32, in) : null;
        Tensor index = Groups.index(c.file(name), linear + INDEX, stored, grid);
        Groups.requireScaled(c.file(name), name, scales, grid, in, index, codes);
        return new IntegerScales(Groups.withZeros(grid, zeros), scales, zeros, index);
    }

    private static Tensor repeated(Tensor one, long out, SegmentAllocator memory) {
        Tensor all = Dequantizer.allocate(memory, one.dtype(), out, 1);
        for (long o = 0; o < out; o++) {
            MemorySegment.copy(one.bytes(), 0, all.bytes(), o * one.byteSize(), one.byteSize());
        }
        return all;
    }

    Weight.Grouped weight(Tensor codes, long in) {
        return new Weight.Grouped(grid, in, codes, scales, zeros, index);
    }

    /// @param zeros of a layer whose zero points are no middle codes
    static List<TensorInfo> plan(LayerPlan layer, Codes.Ints codes, TensorInfo zeros) {
        String linear = layer.linear();
        long groups = layer.tiles().across(layer.in());
        DType type = layer.grid().scaleType();
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(
                layer.tiles().equals(Tiles.TENSOR)
                        ? TensorInfo.of(linear + Stored.SCALE, type, 1)
                        : TensorInfo.of(linear + Stored.SCALE, type, layer.out(), groups));
        if (!codes.symmetric()) {
            plan.add(zeros);
        }
        if (layer.groupIndex()) {
            plan.add(TensorInfo.of(linear + INDEX, DType.I32, layer.in()));
        }
        return plan;
    }

    /// @param zeros as [#plan] has them; null where symmetric
    static void encode(
            SequencedMap<String, Tensor> tensors,
            String linear,
            Weight.Grouped w,
            DType dtype,
            Tensor zeros,
            SegmentAllocator memory) {
        Tensor scales = Groups.scales(w.scales(), dtype, memory);
        tensors.put(
                linear + Stored.SCALE,
                w.grid().tiles().equals(Tiles.TENSOR) ? scales.rows(0, 1).reshape(1) : scales);
        if (zeros != null) {
            tensors.put(linear + ZeroPoints.NAME, zeros);
        }
        if (w.groupIndex() != null) {
            tensors.put(linear + INDEX, w.groupIndex());
        }
    }
}
