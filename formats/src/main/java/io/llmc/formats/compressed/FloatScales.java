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
import io.llmc.tensor.Floats;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.SequencedMap;
import java.util.function.Supplier;

/// The scales of small floats, which stand beside their codes in all formats.
///
/// | tensor | |
/// |---|---|
/// | `weight_scale` | one a tile, `[1]` for one: in the model's type, U8 of powers of two, F8_E4M3 where nested |
/// | `weight_global_scale` | F32 `[1]`, which divides nested ones |
///
/// @param global null but for nested scales
record FloatScales(Tensor scales, Tensor global) {
    private static final String GLOBAL = ".weight_global_scale";

    /// @param shape out, in
    /// @param codes asked for where a scale is 0
    /// @throws FormatException where a scale makes no sense
    static FloatScales read(
            TensorReader reader,
            String linear,
            Encoding.Grid<Codes.Floats> grid,
            Shape shape,
            Supplier<Tensor> codes) {
        Checkpoint c = reader.checkpoint();
        String name = linear + Stored.SCALE;
        long down = grid.tiles().down(shape.dim(0));
        long across = grid.tiles().across(shape.dim(1));
        DType type = type(grid.scales(), Stored.scaleType(c, name));
        Tensor scales =
                grid.tiles().equals(Tiles.TENSOR)
                        ? Stored.one(reader, name)
                        : reader.tensor(name, type, down, across);
        if (scales.dtype() != type) {
            throw new FormatException(
                    c.file(name), "%s, expected %s".formatted(c.info(name), type));
        }
        Tensor global = null;
        if (grid.scales() == ScaleKind.NESTED) {
            global = reader.tensor(linear + GLOBAL, DType.F32, 1);
            requirePositive(c, linear + GLOBAL, global);
        }
        FloatScales read = new FloatScales(scales.reshape(down, across), global);
        read.requireNumbers(c, linear, grid, shape, codes);
        return read;
    }

    private static DType type(ScaleKind kind, DType plain) {
        return switch (kind) {
            case FLOAT -> plain;
            case POWER -> DType.U8;
            case NESTED -> DType.F8_E4M3;
        };
    }

    /// @throws FormatException where a number is not above 0, or infinite
    static void requirePositive(Checkpoint c, String name, Tensor number) {
        float value = Floats.get(number.bytes(), number.dtype(), 0);
        if (!(value > 0 && value < Float.POSITIVE_INFINITY)) {
            throw new FormatException(
                    c.file(name),
                    "'%s' is %s, expected a number above 0: download the model again"
                            .formatted(name, value));
        }
    }

    private void requireNumbers(
            Checkpoint c,
            String linear,
            Encoding.Grid<Codes.Floats> grid,
            Shape shape,
            Supplier<Tensor> codes) {
        String name = linear + Stored.SCALE;
        MemorySegment stored = scales.bytes();
        boolean plain = grid.scales() == ScaleKind.FLOAT;
        float[] values = plain ? new float[0] : grid.scales().bytes();
        float divisor = global == null ? 1 : Floats.get(global.bytes(), DType.F32, 0);
        for (long i = 0; i < scales.shape().size(); i++) {
            float scale =
                    plain
                            ? Floats.get(stored, scales.dtype(), i)
                            : values[stored.get(ValueLayout.JAVA_BYTE, i) & 0xff];
            boolean held = Float.isFinite(grid.codes().reach() * (scale / divisor));
            // No writer makes a negative one, and hardware has no sign for nested ones.
            if (!held || Float.floatToRawIntBits(scale) < 0) {
                throw new FormatException(
                        c.file(name),
                        "'%s' is %s at element %d, expected a number of at least 0 that weights can be made of: download the model again"
                                .formatted(name, scale, i));
            }
            if (scale == 0 && !alike(codes.get(), grid.tiles(), shape, i)) {
                throw new FormatException(
                        c.file(name),
                        "'%s' is 0 at element %d, whose codes are not alike: its values are lost; quantize the original model again, with scales of a wider type"
                                .formatted(name, i));
            }
        }
    }

    /// Whether all bytes of codes of a tile are equal, as where all of its weights are 0.
    private static boolean alike(Tensor codes, Tiles tiles, Shape shape, long tile) {
        long across = tiles.across(shape.dim(1));
        long row = tile / across * tiles.height(shape.dim(0));
        long width = tiles.width(shape.dim(1)) * codes.cols() / shape.dim(1);
        long col = tile % across * width;
        byte first = codes.bytes().get(ValueLayout.JAVA_BYTE, row * codes.cols() + col);
        for (long o = row; o < Math.min(shape.dim(0), row + tiles.height(shape.dim(0))); o++) {
            for (long i = col; i < Math.min(codes.cols(), col + width); i++) {
                if (codes.bytes().get(ValueLayout.JAVA_BYTE, o * codes.cols() + i) != first) {
                    return false;
                }
            }
        }
        return true;
    }

    static List<TensorInfo> plan(LayerPlan layer) {
        String name = layer.linear() + Stored.SCALE;
        Tiles tiles = layer.tiles();
        ScaleKind kind = layer.grid().grid().scales();
        DType type = type(kind, layer.grid().scaleType());
        List<TensorInfo> plan = new ArrayList<>();
        plan.add(
                tiles.equals(Tiles.TENSOR)
                        ? TensorInfo.of(name, type, 1)
                        : TensorInfo.of(
                                name, type, tiles.down(layer.out()), tiles.across(layer.in())));
        if (kind == ScaleKind.NESTED) {
            plan.add(TensorInfo.of(layer.linear() + GLOBAL, DType.F32, 1));
        }
        return plan;
    }

    /// @param dtype of plain scales
    static void encode(
            SequencedMap<String, Tensor> tensors,
            String linear,
            Weight.Scaled w,
            DType dtype,
            SegmentAllocator memory) {
        Tensor scales =
                w.grid().scales() == ScaleKind.FLOAT
                        ? Groups.scales(w.scales(), dtype, memory)
                        : w.scales();
        tensors.put(
                linear + Stored.SCALE,
                w.grid().tiles().equals(Tiles.TENSOR) ? scales.reshape(1) : scales);
        if (w.global() != null) {
            tensors.put(linear + GLOBAL, w.global());
        }
    }
}
