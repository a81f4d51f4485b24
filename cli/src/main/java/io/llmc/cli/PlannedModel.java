// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Formats;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.Pass;
import io.llmc.pipeline.plan.ModelCost;
import io.llmc.pipeline.sweep.Preset;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.quantize.Presets;
import io.llmc.quantize.QuantizePasses;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/// A model by its headers, or by its config.json where there is nothing else, and what presets
/// would make of it.
record PlannedModel(Checkpoint checkpoint) implements AutoCloseable {
    static final String AS_IT_IS = "none";
    private static final String CONFIG = "config.json";

    static PlannedModel open(Models models, Consumer<String> notes) {
        Path path = models.main();
        Path config = path.endsWith(CONFIG) ? path : path.resolve(CONFIG);
        boolean alone = path.endsWith(CONFIG) || !Formats.matches(path);
        if (!alone || !Files.isRegularFile(config)) {
            return new PlannedModel(models.open(path, notes));
        }
        notes.accept("%s: no weights here, sizes follow from config.json".formatted(path));
        return new PlannedModel(models.outline(config));
    }

    /// @param presets `none` for the model as it is
    /// @param groupSize of those that have groups
    Map<String, ModelCost> costs(List<String> presets, Optional<Integer> groupSize) {
        Map<String, ModelCost> costs = new LinkedHashMap<>();
        for (String name : presets) {
            if (name.equals(AS_IT_IS)) {
                costs.put(checkpoint.isQuantized() ? "packed" : plain(), ModelCost.of(checkpoint));
            } else {
                costs.put(name, cost(preset(name), groupSize));
            }
        }
        return costs;
    }

    private String plain() {
        return checkpoint.config().dtype().toString().toLowerCase(Locale.ROOT);
    }

    private ModelCost cost(Preset preset, Optional<Integer> groupSize) {
        List<BlockPass> passes = passes(preset, Optional.empty());
        if (groupSize.isPresent() && passes.stream().anyMatch(this::groups)) {
            passes = passes(preset, groupSize);
        }
        WeightLayout layout = layout(preset.layout().orElse("compressed-tensors"));
        SweepStep.Written written = SweepStep.written(checkpoint, passes, layout);
        return ModelCost.of(checkpoint, written.tensors(), written.schemes());
    }

    private static List<BlockPass> passes(Preset preset, Optional<Integer> groupSize) {
        Map<String, Object> item = new LinkedHashMap<>();
        item.put(Preset.KEY, preset.name());
        groupSize.ifPresent(size -> item.put("groupSize", size));
        List<Pass> passes = new ArrayList<>();
        preset.expand(
                new Options("", item, _ -> "--preset " + preset.name()),
                QuantizePasses.ALL,
                passes);
        return passes.stream()
                .filter(BlockPass.class::isInstance)
                .map(BlockPass.class::cast)
                .toList();
    }

    /// Whether it rounds integers in groups, whose size may be another.
    private boolean groups(BlockPass pass) {
        ModelSpec spec = Architectures.specOf(checkpoint);
        return spec.layers().getFirst().linears(spec.hidden()).stream()
                .flatMap(linear -> pass.scheme(linear).stream())
                .anyMatch(scheme ->
                        scheme.weights() instanceof Encoding.Grid<?> grid
                                && grid.codes() instanceof Codes.Ints
                                && grid.tiles().cols() != Tiles.ALL);
    }

    private static WeightLayout layout(String name) {
        return Layouts.WRITTEN.stream()
                .filter(l -> l.name().equals(name))
                .findFirst()
                .orElseThrow();
    }

    private static Preset preset(String name) {
        return Presets.ALL.stream()
                .filter(p -> p.name().equals(name))
                .findFirst()
                .orElseThrow(() -> unknown(name));
    }

    private static RecipeException unknown(String name) {
        List<String> known = Presets.ALL.stream().map(Preset::name).toList();
        String hint =
                Options.nearest(name, known.stream().collect(Collectors.toSet()))
                        .map(near -> "; did you mean " + near + "?")
                        .orElse("; known: none, " + String.join(", ", known));
        return new RecipeException("--preset", "no preset is called " + name + hint);
    }

    /// The longest sequence.
    int positions() {
        return Architectures.specOf(checkpoint).maxPositions();
    }

    /// Bits of cached numbers, where the model says so.
    Optional<Integer> cacheBits() {
        return checkpoint.kvCache().map(scheme -> scheme.codes().bits());
    }

    @Override
    public void close() {
        checkpoint.close();
    }
}
