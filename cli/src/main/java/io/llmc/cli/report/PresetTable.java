// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import io.llmc.cli.terminal.Table;
import io.llmc.formats.HfConfig;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.Solver;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.Pass;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.reader.Output;
import io.llmc.pipeline.reader.Target;
import io.llmc.pipeline.sweep.Preset;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Stream;

/// What presets there are. All that the table says but their own words is asked of their passes, of
/// the layouts and of the table of readers, for a block of usual sizes.
public record PresetTable(List<Preset> presets, List<PassFactory> methods) {
    private static final ModelSpec MODEL =
            Architectures.specOf(
                    HfConfig.of(
                            Path.of("config.json"),
                            JsonNodeFactory.instance
                                    .objectNode()
                                    .put("model_type", "llama")
                                    .put("hidden_size", 4096)
                                    .put("intermediate_size", 14336)
                                    .put("num_hidden_layers", 1)
                                    .put("num_attention_heads", 32)
                                    .put("num_key_value_heads", 8)
                                    .put("vocab_size", 128256)),
                    Set.of("lm_head.weight", "model.layers.0.input_layernorm.weight"));

    /// One preset.
    ///
    /// @param bits a weight, with scales and zero points
    /// @param layouts that can spell it, the usual one first
    /// @param readers of the usual one
    private record Row(
            Preset preset, double bits, boolean data, List<String> layouts, List<String> readers) {}

    public String text() {
        Table table = new Table("lrllll").row("preset", "bits", "data", "layouts", "read by", "");
        for (Preset preset : presets) {
            Row row = row(preset);
            table.row(
                    preset.name(),
                    "%.2f".formatted(row.bits),
                    row.data ? "needed" : "none",
                    String.join(", ", row.layouts),
                    String.join(", ", row.readers),
                    preset.summary());
        }
        return table.toString();
    }

    public Map<String, Object> json() {
        List<Object> rows = new ArrayList<>();
        for (Preset preset : presets) {
            Row row = row(preset);
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("preset", preset.name());
            json.put("summary", preset.summary());
            json.put("bits_per_weight", row.bits);
            json.put("needs_data", row.data);
            json.put("layouts", row.layouts);
            json.put("read_by", row.readers);
            rows.add(json);
        }
        return Map.of("presets", rows);
    }

    private Row row(Preset preset) {
        List<Pass> passes = new ArrayList<>();
        preset.expand(Options.of(Map.of(Preset.KEY, preset.name())), methods, passes);
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        Solver solver = null;
        for (Pass pass : passes) {
            if (pass instanceof BlockPass rounding && rounding.solver().isPresent()) {
                solver = rounding.solver().get();
                linears()
                        .forEach(l ->
                                rounding.scheme(l)
                                        .ifPresent(scheme -> schemes.put(l.name(), scheme)));
            }
        }
        QuantPlan plan =
                new QuantPlan(
                        new Schemes(schemes, Optional.empty()),
                        List.of(new QuantPlan.Solved(solver, schemes.keySet())),
                        List.of("lm_head"),
                        MODEL.modelType(),
                        false);
        String usual = preset.layout().orElse("compressed-tensors");
        List<WeightLayout> layouts =
                Stream.concat(
                                Layouts.WRITTEN.stream().filter(l -> l.name().equals(usual)),
                                Layouts.WRITTEN.stream().filter(l -> !l.name().equals(usual)))
                        .filter(layout -> layout.packs() && spells(layout, plan))
                        .toList();
        Output output = new Output(MODEL, MODEL, usual, schemes, Set.of());
        return new Row(
                preset,
                bits(layouts.getFirst(), schemes),
                passes.stream().anyMatch(Pass::calibrates),
                layouts.stream().map(WeightLayout::name).toList(),
                Arrays.stream(Target.values())
                        .filter(target -> target.reads(output))
                        .map(Target::spelling)
                        .toList());
    }

    private static List<LinearSpec> linears() {
        return MODEL.layers().getFirst().linears(MODEL.hidden());
    }

    private static double bits(WeightLayout layout, Map<String, Scheme> schemes) {
        double bytes = 0;
        double weights = 0;
        for (LinearSpec l : linears()) {
            bytes +=
                    tensors(layout, l, schemes.get(l.name())).stream()
                            .mapToLong(TensorInfo::byteSize)
                            .sum();
            weights += (double) l.out() * l.in();
        }
        return 8 * bytes / weights;
    }

    private static List<TensorInfo> tensors(WeightLayout layout, LinearSpec l, Scheme scheme) {
        var grid = layout.grid((Encoding.Grid<?>) scheme.weights(), DType.BF16);
        return layout.plan(new LayerPlan(l.name(), l.out(), l.in(), scheme, grid, false));
    }

    private static boolean spells(WeightLayout layout, QuantPlan plan) {
        try {
            layout.check(plan);
            linears().forEach(l -> tensors(layout, l, plan.schemes().byLinear().get(l.name())));
            return true;
        } catch (UserException e) {
            return false; // it says why to who asks for it
        }
    }
}
