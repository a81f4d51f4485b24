// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.SmallFloatOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.GridSpec;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.pipeline.Finite;
import io.llmc.pipeline.SweepPlan;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Whether the scales of packed layers survive the type that they are written in: what a reader
/// computes must be what was meant.
///
/// A scale of which fewer units than the middle code are left below the type's normal numbers may
/// be off by more than `2^-bits`, and then the largest weight of its group by more than rounding is
/// anyway. A group of zeros has a scale of its own, so that 0 is always a loss. Of small floats the
/// numbers of their mantissa stand in the place of the codes. Powers of two lose nothing, and a
/// nested scale is as coarse as its format wants it, unless it is 0.
final class Scales {
    private final String layer;
    private final WeightLayout layout;
    private final DType modelDtype;
    private final DType dtype;
    private final Encoding.Grid<?> spec;
    private long lost;
    private long beyond;

    private Scales(
            String layer,
            WeightLayout layout,
            DType modelDtype,
            DType dtype,
            Encoding.Grid<?> spec) {
        this.layer = layer;
        this.layout = layout;
        this.modelDtype = modelDtype;
        this.dtype = dtype;
        this.spec = spec;
    }

    /// Looks at the layers of a model before any work, where their grids follow from the weights as
    /// they are. A solver may still choose others on its way, so [#require] has the last word.
    ///
    /// @throws UserException naming the first layer and a layout that can hold it
    static void requireAll(Checkpoint c, SweepStep sweep, OutputPlan plan, Backend backend) {
        boolean asTheyAre =
                sweep.modelPasses().isEmpty()
                        && !plan.target().inOutLinears()
                        && sweep.passes().stream()
                                .allMatch(p -> p.solver().filter(s -> !s.groupIndex()).isPresent());
        if (!asTheyAre) {
            return;
        }
        for (SweepPlan.Module m : plan.modules().values()) {
            if (plan.scheme(m.name()).orElse(null) instanceof Scheme(Encoding.Grid<?> grid, _)) {
                GridSpec<?> target = plan.grid(m.name(), grid);
                // F32 and BF16 have the range of weights themselves, but for the rarest, for which
                // no model is read twice. Nested scales and powers of two are made to fit.
                if (target.scaleType() == DType.F16 && grid.scales() == ScaleKind.FLOAT) {
                    try (TensorReader reader = c.reader()) {
                        requireHeld(backend, plan, m, target, reader.tensor(m.name() + ".weight"));
                    }
                }
            }
        }
    }

    private static void requireHeld(
            Backend backend,
            OutputPlan plan,
            SweepPlan.Module m,
            GridSpec<?> target,
            Tensor stored) {
        Tiles tiles = target.grid().tiles();
        Shape shape = new Shape(tiles.down(m.out()), tiles.across(m.in()));
        try (TensorArena arena =
                backend.newArena(stored.byteSize() + 8 * shape.size() + (1 << 12))) {
            Tensor w = backend.adopt(stored, arena);
            Tensor scales = scales(backend, arena, target, shape, w);
            Scales held =
                    new Scales(
                            m.name(),
                            plan.layout(),
                            stored.dtype(),
                            target.scaleType(),
                            target.grid());
            try (Arena memory = Arena.ofConfined()) {
                MemorySegment meant = memory.allocate(scales.byteSize(), 8);
                backend.download(meant, scales);
                for (long t = 0; t < shape.size(); t++) {
                    held.add(Floats.round(Floats.get(meant, scales.dtype(), t), held.dtype));
                }
            }
            held.require(shape.size());
        }
    }

    /// As rounding to nearest without a search chooses them, in F32: in their own type a tile whose
    /// scale would be 0 gets that of a tile of zeros.
    private static Tensor scales(
            Backend backend, TensorArena arena, GridSpec<?> target, Shape shape, Tensor w) {
        Tiles tiles = target.grid().tiles();
        Tensor scales = arena.allocate(DType.F32, shape);
        return switch (target.grid().codes()) {
            case Codes.Ints ints -> {
                Tensor zeros = arena.allocate(DType.U8, shape);
                var grid = new Encoding.Grid<>(ints, tiles);
                int groups = (int) shape.dim(1);
                backend.run(
                        new CompressionOp.ChooseGrid(
                                scales, zeros, w, null, grid, 0, null, 0, groups));
                yield scales;
            }
            case Codes.Floats floats -> {
                Tensor maxima = arena.allocate(DType.F32, shape);
                var grid = new Encoding.Grid<>(floats, tiles);
                backend.run(new SmallFloatOp.TileMaxima(maxima, w, tiles));
                backend.run(
                        new SmallFloatOp.ChooseScales(
                                scales, maxima, null, w.dtype(), grid, null, null, null));
                yield scales;
            }
        };
    }

    /// The same for a layer that is about to be written.
    ///
    /// @param w in host memory
    /// @throws UserException naming the layer and a layout that can hold it
    static void require(String layer, Weight.Grouped w, WeightLayout layout, DType modelDtype) {
        DType dtype = w.scales().dtype();
        Scales held = new Scales(layer, layout, modelDtype, dtype, w.grid());
        MemorySegment scales = w.scales().bytes();
        MemorySegment zeros = w.zeros().bytes();
        long groups = w.scales().shape().size();
        float reach = 0;
        for (long g = 0; g < groups; g++) {
            float scale = Floats.get(scales, dtype, g);
            int zero = zeros.get(ValueLayout.JAVA_BYTE, g) & 0xff;
            held.add(scale);
            reach =
                    Math.max(
                            reach,
                            Math.max(zero, w.grid().codes().maxCode() - zero) * Math.abs(scale));
        }
        held.require(groups);
        held.requireRange(w, reach);
    }

    /// The same for small floats.
    ///
    /// @param w in host memory
    /// @throws UserException naming the layer and a layout that can hold it
    static void require(String layer, Weight.Scaled w, WeightLayout layout, DType modelDtype) {
        Scales held = new Scales(layer, layout, modelDtype, w.valueType(), w.grid());
        float global = w.global() == null ? 1 : Floats.get(w.global().bytes(), DType.F32, 0);
        if (!(global > 0 && global < Float.POSITIVE_INFINITY)) {
            throw new UserException(
                    "the global scale of %s is %s: its weights are all too %s"
                            .formatted(layer, global, global > 0 ? "small" : "large"),
                    held.remedy());
        }
        MemorySegment stored = w.scales().bytes();
        boolean plain = w.grid().scales() == ScaleKind.FLOAT;
        float[] values = plain ? new float[0] : w.grid().scales().bytes();
        long tiles = w.scales().shape().size();
        float reach = 0;
        for (long t = 0; t < tiles; t++) {
            float scale =
                    plain
                            ? Floats.get(stored, w.scales().dtype(), t)
                            : values[stored.get(ValueLayout.JAVA_BYTE, t) & 0xff] / global;
            held.add(scale);
            reach = Math.max(reach, w.grid().codes().reach() * scale);
        }
        held.require(tiles);
        held.requireRange(w, reach);
    }

    /// @param reach of the largest code that there may be
    private void requireRange(Weight w, float reach) {
        if (!Float.isInfinite(Floats.round(reach, dtype))) {
            return;
        }
        // Some code would be beyond the type; perhaps none that is there.
        try (Arena memory = Arena.ofConfined()) {
            Tensor values = Dequantizer.values(w, DType.F32, memory);
            long bad = Finite.bad(values);
            if (bad >= 0) {
                throw new UserException(
                        "tensor %s as its readers compute it is beyond the range of %s at element %d"
                                .formatted(layer, dtype, bad),
                        remedy());
            }
        }
    }

    private void add(float scale) {
        if (!Float.isFinite(scale)) {
            beyond++;
        } else if (scale == 0 || Math.abs(scale) < leastUnits() * unit()) {
            lost++;
        }
    }

    private double unit() {
        return dtype == DType.F16 ? 0x1p-24 : dtype == DType.BF16 ? 0x1p-133 : 0x1p-149;
    }

    private int leastUnits() {
        if (spec.scales() != ScaleKind.FLOAT) {
            return 0;
        }
        return switch (spec.codes()) {
            case Codes.Ints ints -> ints.middleCode();
            case Codes.Floats(DType type) -> type == DType.F4 ? 4 : 16;
        };
    }

    private void require(long groups) {
        if (lost == 0 && beyond == 0) {
            return;
        }
        throw new UserException(
                "the weights of %s are too %s for the %s scales of %s: %,d of %,d groups would be lost"
                        .formatted(
                                layer,
                                lost > 0 ? "small" : "large",
                                dtype,
                                layout.name(),
                                lost + beyond,
                                groups),
                remedy());
    }

    private String remedy() {
        List<String> wider =
                Layouts.WRITTEN.stream()
                        .filter(l -> range(l.grid(spec, modelDtype).scaleType()) > range(dtype))
                        .map(WeightLayout::name)
                        .toList();
        String ignore = "leave the layer out with {ignore}";
        return wider.isEmpty()
                ? ignore
                : Stream.concat(
                                        Stream.of("use {save.layout} " + wider.getFirst()),
                                        wider.stream().skip(1))
                                .collect(Collectors.joining(" or "))
                        + ", or "
                        + ignore;
    }

    /// Orders types by how small and large their numbers are.
    private static int range(DType type) {
        return type == DType.F16 ? 0 : type == DType.BF16 ? 1 : 2;
    }
}
