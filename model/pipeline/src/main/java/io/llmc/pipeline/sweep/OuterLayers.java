// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.GridSpec;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// The output layer and the token embedding, rounded before the first block sees a token: what
/// passes calibrate with is what a reader of the output will compute.
final class OuterLayers implements AutoCloseable {
    private final LanguageModel model;
    private final OutputPlan plan;
    private final Desk desk;
    private final SequencedMap<String, Weight> rounded = new LinkedHashMap<>();

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    OuterLayers(LanguageModel model, OutputPlan plan, List<ModelPass> passes) {
        this.model = model;
        this.plan = plan;
        TensorArena arena = model.backend().newArena(bytes(plan) + (1 << 12));
        this.desk = new Desk(model.backend(), arena);
        for (ModelPass pass : passes) {
            pass.outer(model.spec()).keySet().forEach(name -> round(pass, name));
        }
    }

    /// What is rounded, as it is held.
    SequencedMap<String, Weight> rounded() {
        return rounded;
    }

    /// Bytes of the device that rounded layers take.
    static long bytes(OutputPlan plan) {
        return plan.outside().values().stream().mapToLong(m -> bytes(m, plan)).sum();
    }

    private static long bytes(SweepPlan.Module m, OutputPlan plan) {
        long codes = MemoryPlan.bytes(m.scheme().orElseThrow().weights(), m.out(), m.in());
        boolean plain = plan.isDense(m.name()) || m.name().equals(plan.target().embedding());
        return codes + (plain ? plan.dtype(m.name()).bytesFor(m.out() * m.in()) : 0) + 1024;
    }

    /// Bytes that rounding the largest of them works in.
    static long workBytes(OutputPlan plan, List<ModelPass> passes) {
        return plan.outside().values().stream()
                .mapToLong(m ->
                        4 * m.out() * m.in()
                                + passes.stream()
                                        .mapToLong(p -> p.roundBytes(m.out(), m.in()))
                                        .max()
                                        .orElse(0))
                .max()
                .orElse(0);
    }

    private void round(ModelPass pass, String name) {
        SweepPlan.Module m = plan.outside().get(name);
        boolean embedding = name.equals(model.spec().embedding());
        Weight before = embedding ? new Weight.Dense(model.embedding()) : model.head().weight();
        if (!(m.scheme().orElseThrow().weights()
                instanceof Encoding.Grid<?>(Codes.Ints codes, Tiles tiles, ScaleKind _))) {
            throw new IllegalStateException(name + " is rounded to integers only");
        }
        GridSpec<Codes.Ints> grid = plan.grid(name, new Encoding.Grid<>(codes, tiles));
        Weight packed = pass.round(desk, before, grid);
        boolean dense = plan.isDense(name);
        Weight written = dense ? values(packed, plan.dtype(name)) : packed;
        rounded.put(name, written);
        if (!embedding) {
            model.head().replace(written);
        } else if (written instanceof Weight.Dense(Tensor rows)) {
            model.replaceEmbedding(rows);
        } else {
            // As its reader looks rows up.
            model.replaceEmbedding(values(packed, packed.valueType()).values());
        }
    }

    private Weight.Dense values(Weight packed, DType type) {
        Tensor rows = desk.allocate(type, packed.outFeatures(), packed.inFeatures());
        try (Desk scratch = desk.fresh(4 * rows.shape().size() + 256)) {
            Tensor wide = scratch.f32(rows.rows(), rows.cols());
            desk.run(new CompressionOp.Dequantize(wide, packed));
            desk.run(new ForwardOp.Scale(rows, wide, 1));
        }
        return new Weight.Dense(rows);
    }

    @Override
    public void close() {
        desk.close();
    }
}
