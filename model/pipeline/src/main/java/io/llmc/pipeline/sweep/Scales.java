// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
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
/// anyway. A group of zeros has a scale of its own, so that 0 is always a loss.
final class Scales {
    private final String layer;
    private final WeightLayout layout;
    private final DType modelDtype;
    private final DType dtype;
    private final Encoding.Grid<Codes.Ints> spec;
    private long lost;
    private long beyond;

    private Scales(
            String layer,
            WeightLayout layout,
            DType modelDtype,
            DType dtype,
            Encoding.Grid<Codes.Ints> spec) {
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
            // The other types have the range of the weights themselves, but for the rarest.
            if (plan.scheme(m.name()).orElse(null)
                            instanceof Scheme(Encoding.Grid<?>(Codes.Ints codes, Tiles tiles, _), _)
                    && plan.grid(m.name(), new Encoding.Grid<>(codes, tiles))
                            instanceof GridSpec<Codes.Ints> target
                    && target.scaleType() == DType.F16) {
                try (TensorReader reader = c.reader()) {
                    requireHeld(backend, plan, m, target, reader.tensor(m.name() + ".weight"));
                }
            }
        }
    }

    private static void requireHeld(
            Backend backend,
            OutputPlan plan,
            SweepPlan.Module m,
            GridSpec<Codes.Ints> target,
            Tensor stored) {
        Encoding.Grid<Codes.Ints> spec = target.grid();
        Shape groups = new Shape(m.out(), spec.tiles().across(m.in()));
        try (TensorArena arena =
                backend.newArena(stored.byteSize() + 5 * groups.size() + (1 << 12))) {
            Tensor w = backend.adopt(stored, arena);
            Tensor scales = arena.allocate(DType.F32, groups);
            Tensor zeros = arena.allocate(DType.U8, groups);
            backend.run(
                    new CompressionOp.ChooseGrid(
                            scales, zeros, w, null, spec, 0, null, 0, (int) groups.dim(1)));
            Scales held =
                    new Scales(m.name(), plan.layout(), stored.dtype(), target.scaleType(), spec);
            try (Arena memory = Arena.ofConfined()) {
                MemorySegment meant = memory.allocate(scales.byteSize(), 8);
                backend.download(meant, scales);
                for (long g = 0; g < groups.size(); g++) {
                    held.add(Floats.round(Floats.get(meant, DType.F32, g), held.dtype));
                }
            }
            held.require(groups.size());
        }
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
            reach = Math.max(reach, Math.max(zero, w.grid().codes().maxCode() - zero) * scale);
        }
        held.require(groups);
        if (Float.isInfinite(Floats.round(reach, dtype))) {
            // Some code would be beyond the type; perhaps none that is there.
            try (Arena memory = Arena.ofConfined()) {
                Tensor values = Dequantizer.values(w, DType.F32, memory);
                long bad = Finite.bad(values);
                if (bad >= 0) {
                    throw new UserException(
                            "tensor %s as its readers compute it is beyond the range of %s at element %d"
                                    .formatted(layer, dtype, bad),
                            held.remedy());
                }
            }
        }
    }

    private void add(float scale) {
        double unit = dtype == DType.F16 ? 0x1p-24 : dtype == DType.BF16 ? 0x1p-133 : 0x1p-149;
        if (!Float.isFinite(scale)) {
            beyond++;
        } else if (scale < spec.codes().middleCode() * unit) {
            lost++;
        }
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
                Layouts.ALL.stream()
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
