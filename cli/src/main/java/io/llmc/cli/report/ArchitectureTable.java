// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.backend.Op;
import io.llmc.cli.terminal.Spelling;
import io.llmc.cli.terminal.Table;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.Capability;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.ModelDirectory;
import io.llmc.model.arch.Samples;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.Pass;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.prune.PrunePasses;
import io.llmc.quantize.QuantizePasses;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.Consumer;
import java.util.stream.Stream;

/// What can be done with a small model of each `model_type`, as methods plan it: they ask the
/// structure of the blocks.
///
/// @param obstacles by type and by what would be done; an empty sentence where nothing stops it
public record ArchitectureTable(SequencedMap<String, SequencedMap<String, String>> obstacles) {
    private static final WeightLayout USUAL =
            Layouts.WRITTEN.stream()
                    .filter(layout -> layout.name().equals("compressed-tensors"))
                    .findFirst()
                    .orElseThrow();

    private static final SequencedMap<String, Consumer<Checkpoint>> COLUMNS = new LinkedHashMap<>();

    static {
        Pass rounding = pass("rtn", Map.of("groupSize", "channel"));
        put("quantize", rounding);
        put("awq", pass("awq", Map.of("groupSize", "channel")), rounding);
        put("wanda", pass("wanda", Map.of("sparsity", 0.5)));
        put("width", pass("width", Map.of("ffn", 0.5)));
        put("heads", pass("width", Map.of("heads", 0.5)));
        put("kv-heads", pass("kv-heads", Map.of("to", 1)));
        put("experts", pass("experts", Map.of("keep", 3)));
        put("layers", pass("layers", Map.of("drop", 1)));
        put("slice", pass("slice", Map.of("hidden", 48)));
        COLUMNS.put("distill", c -> Capability.requireGradients(spec(c)));
        COLUMNS.put("draft", c -> Capability.requireUndoing(spec(c)));
        COLUMNS.put(
                "cuda",
                c -> Capability.requireOn("CUDA", op -> !Op.ON_CPU_ALONE.contains(op), spec(c)));
    }

    /// Of all that llmc reads.
    public static ArchitectureTable ofAll() {
        SequencedMap<String, SequencedMap<String, String>> all = new LinkedHashMap<>();
        Architectures.modelTypes().forEach(type -> all.put(type, obstacles(type)));
        return new ArchitectureTable(all);
    }

    private static SequencedMap<String, String> obstacles(String type) {
        SequencedMap<String, String> obstacles = new LinkedHashMap<>();
        try (Checkpoint sample = ModelDirectory.outline(Samples.of(type))) {
            COLUMNS.forEach((what, attempt) -> obstacles.put(what, obstacle(attempt, sample)));
        }
        return obstacles;
    }

    private static String obstacle(Consumer<Checkpoint> attempt, Checkpoint sample) {
        try {
            attempt.accept(sample);
            return "";
        } catch (UserException e) {
            return Spelling.asFlags(e.getMessage());
        }
    }

    private static ModelSpec spec(Checkpoint c) {
        return Architectures.specOf(c);
    }

    private static void put(String what, Pass... passes) {
        COLUMNS.put(what, c -> plan(c, passes));
    }

    /// What a sweep refuses before its work.
    private static void plan(Checkpoint c, Pass... passes) {
        List<BlockPass> inBlocks = new ArrayList<>();
        for (Pass pass : passes) {
            switch (pass) {
                case ModelPass whole -> whole.outline(c);
                case BlockPass blocks -> inBlocks.add(blocks);
            }
        }
        if (!inBlocks.isEmpty()) {
            SweepStep.written(c, inBlocks, USUAL);
        }
    }

    private static Pass pass(String method, Map<String, Object> options) {
        PassFactory factory =
                Stream.concat(QuantizePasses.ALL.stream(), PrunePasses.ALL.stream())
                        .filter(f -> f.name().equals(method))
                        .findFirst()
                        .orElseThrow();
        return factory.read().apply(new Options("", options, key -> key));
    }

    /// @param reasons whether to say below what stops each
    public String text(boolean reasons) {
        Table table = new Table("l".repeat(COLUMNS.size() + 1));
        List<Object> header = new ArrayList<>(List.of("model_type"));
        header.addAll(COLUMNS.keySet());
        table.header(header.toArray());
        StringBuilder said = new StringBuilder();
        obstacles.forEach((type, row) -> {
            List<Object> cells = new ArrayList<>(List.of(type));
            row.forEach((what, why) -> {
                cells.add(why.isEmpty() ? "yes" : "-");
                if (reasons && !why.isEmpty()) {
                    said.append("\n%s, %s: %s".formatted(type, what, why));
                }
            });
            table.row(cells.toArray());
        });
        return table + said.toString() + (said.isEmpty() ? "" : "\n");
    }

    public SequencedMap<String, Object> json() {
        List<Object> all = new ArrayList<>();
        obstacles.forEach((type, row) -> {
            SequencedMap<String, Object> json = new LinkedHashMap<>();
            json.put("model_type", type);
            SequencedMap<String, Object> reasons = new LinkedHashMap<>();
            row.forEach((what, why) -> {
                json.put(what.replace('-', '_'), why.isEmpty());
                if (!why.isEmpty()) {
                    reasons.put(what.replace('-', '_'), why);
                }
            });
            json.put("reasons", reasons);
            all.add(json);
        });
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("architectures", all);
        return json;
    }
}
