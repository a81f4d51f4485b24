// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Table;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.Solver;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.Pass;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.sweep.Preset;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/// What presets there are. All that the table says but their own words is asked of their passes and
/// of the layouts, for a layer of usual size.
public record PresetTable(List<Preset> presets, List<PassFactory> methods) {
    private static final LinearSpec LAYER =
            new LinearSpec("model.layers.0.mlp.down_proj", 4096, 14336, false, List.of());

    /// One preset.
    ///
    /// @param bits a weight, with scales and zero points
    /// @param layouts that can spell it, the usual one first
    private record Row(Preset preset, double bits, boolean data, List<String> layouts) {}

    public String text() {
        Table table = new Table("lrlll").row("preset", "bits", "data", "layouts", "");
        for (Preset preset : presets) {
            Row row = row(preset);
            table.row(
                    preset.name(),
                    "%.2f".formatted(row.bits),
                    row.data ? "needed" : "none",
                    String.join(", ", row.layouts),
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
            rows.add(json);
        }
        return Map.of("presets", rows);
    }

    private Row row(Preset preset) {
        List<Pass> passes = new ArrayList<>();
        preset.expand(Options.of(Map.of(Preset.KEY, preset.name())), methods, passes);
        BlockPass rounding =
                passes.stream()
                        .filter(BlockPass.class::isInstance)
                        .map(BlockPass.class::cast)
                        .filter(pass -> pass.scheme(LAYER).isPresent())
                        .reduce((_, last) -> last)
                        .orElseThrow();
        Scheme scheme = rounding.scheme(LAYER).orElseThrow();
        Solver solver = rounding.solver().orElseThrow();
        String usual = preset.layout().orElse("compressed-tensors");
        List<WeightLayout> layouts =
                Stream.concat(
                                Layouts.ALL.stream().filter(l -> l.name().equals(usual)),
                                Layouts.ALL.stream().filter(l -> !l.name().equals(usual)))
                        .filter(layout -> layout.packs() && spells(layout, scheme, solver))
                        .toList();
        long bytes =
                tensors(layouts.getFirst(), scheme).stream().mapToLong(TensorInfo::byteSize).sum();
        return new Row(
                preset,
                8.0 * bytes / (LAYER.out() * LAYER.in()),
                passes.stream().anyMatch(Pass::calibrates),
                layouts.stream().map(WeightLayout::name).toList());
    }

    private static List<TensorInfo> tensors(WeightLayout layout, Scheme scheme) {
        return layout.plan(
                new LayerPlan(
                        LAYER.name(),
                        LAYER.out(),
                        LAYER.in(),
                        scheme,
                        layout.grid((Encoding.Grid<?>) scheme.weights(), DType.BF16),
                        false));
    }

    private static boolean spells(WeightLayout layout, Scheme scheme, Solver solver) {
        Schemes schemes =
                new Schemes(new LinkedHashMap<>(Map.of(LAYER.name(), scheme)), Optional.empty());
        try {
            layout.check(
                    new QuantPlan(
                            schemes,
                            List.of(new QuantPlan.Solved(solver, Set.of(LAYER.name()))),
                            List.of("lm_head"),
                            "llama",
                            false));
            return !tensors(layout, scheme).isEmpty();
        } catch (UserException e) {
            return false; // it says why to who asks for it
        }
    }
}
