// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Durations;
import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun.Need;
import io.llmc.pipeline.RecipeRun.Preview;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.SweepPlan.Module;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.SequencedMap;
import java.util.stream.Collectors;

/// What a recipe would do, for `--dry-run`.
///
/// @param plan of the first sweep; empty where there is none
/// @param needs of each step
/// @param begun seconds that a command takes before its first step
public record PlanReport(Recipe recipe, Optional<SweepPlan> plan, List<Need> needs, double begun) {
    public PlanReport(Recipe recipe, Preview preview, double begun) {
        this(recipe, preview.sweep(), preview.needs(), begun);
    }

    public String text(boolean verbose) {
        StringBuilder text = new StringBuilder();
        text.append(
                recipe.output() == null
                        ? "dry run: %s, nothing is measured\n".formatted(recipe.model())
                        : "dry run: %s -> %s, nothing is written\n"
                                .formatted(recipe.model(), recipe.output()));
        plan.ifPresent(p ->
                text.append('\n')
                        .append(layers(p, verbose))
                        .append('\n')
                        .append(sizes(p))
                        .append(notes(p)));
        if (recipe.steps().size() > 1) {
            text.append(
                    "\n%d steps; sizes are those of the first sweep\n"
                            .formatted(recipe.steps().size()));
        }
        if (showsNeeds()) {
            text.append('\n').append(memories());
        }
        time(needs, begun)
                .ifPresent(seconds -> text.append(new Table("ll").row("time", time(seconds))));
        return text.toString();
    }

    /// A single sweep says it among its sizes.
    private boolean showsNeeds() {
        return needs.size() > 1 || plan.isEmpty();
    }

    private Table memories() {
        if (needs.size() == 1) {
            return new Table("ll").row("memory", memory(needs.getFirst()));
        }
        Table table = new Table("rll").row("", "step", "memory");
        for (int i = 0; i < needs.size(); i++) {
            table.row(i + 1, needs.get(i).step(), memory(needs.get(i)));
        }
        return table;
    }

    private static String memory(Need need) {
        return need.bytes().isPresent()
                ? memory(need.bytes().getAsLong())
                : "known once the steps before have run";
    }

    private static Table layers(SweepPlan plan, boolean verbose) {
        Table table = new Table("lrlllr").row("layer", "count", "shape", "method", "grid", "size");
        Map<List<String>, List<Module>> groups = new LinkedHashMap<>();
        for (Module m : plan.modules()) {
            groups.computeIfAbsent(key(m, verbose), _ -> new ArrayList<>()).add(m);
        }
        groups.forEach((key, modules) ->
                table.row(
                        key.getFirst(),
                        modules.size(),
                        key.get(1),
                        key.get(2),
                        key.getLast(),
                        ByteSize.format(modules.stream().mapToLong(Module::bytes).sum())));
        return table;
    }

    private static List<String> key(Module m, boolean verbose) {
        return List.of(
                verbose ? m.name() : m.name().substring(m.name().lastIndexOf('.') + 1),
                m.out() + " x " + m.in(),
                m.method().isEmpty() ? "-" : m.method(),
                m.scheme().map(Scheme::describe).orElse("as it is"));
    }

    private static Table sizes(SweepPlan plan) {
        String spills = plan.spills() ? "; activations go to disk to keep below --memory" : "";
        return new Table("ll")
                .row("size", Figures.sizes(plan.inputBytes(), plan.outputBytes()))
                .row(
                        "parameters",
                        "%s -> %s"
                                .formatted(
                                        Figures.count(plan.inputParameters()),
                                        Figures.count(plan.outputParameters())))
                .row("memory", memory(plan.peakBytes()) + spills);
    }

    /// Seconds of a whole command; empty where a step is not known.
    ///
    /// @param begun seconds before the first step
    public static OptionalDouble time(List<Need> needs, double begun) {
        if (needs.stream().anyMatch(need -> need.seconds().isEmpty())) {
            return OptionalDouble.empty();
        }
        return OptionalDouble.of(
                begun + needs.stream().mapToDouble(n -> n.seconds().getAsDouble()).sum());
    }

    public static String time(double seconds) {
        return "about %s here".formatted(Durations.format(seconds));
    }

    public static String memory(long bytes) {
        return "about " + ByteSize.format(bytes) + " outside the Java heap";
    }

    private static String notes(SweepPlan plan) {
        return plan.notes().stream().map("\nnote: %s\n"::formatted).collect(Collectors.joining());
    }

    public SequencedMap<String, Object> json() {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", recipe.model().toString());
        if (recipe.output() != null) {
            json.put("output", recipe.output().toString());
        }
        plan.ifPresent(p -> {
            json.put("input_bytes", p.inputBytes());
            json.put("output_bytes", p.outputBytes());
            json.put("input_parameters", p.inputParameters());
            json.put("output_parameters", p.outputParameters());
            json.put("peak_bytes", p.peakBytes());
            json.put("spills", p.spills());
            json.put("notes", p.notes());
            json.put("modules", p.modules().stream().map(PlanReport::json).toList());
        });
        time(needs, begun).ifPresent(seconds -> json.put("seconds", seconds));
        if (showsNeeds()) {
            json.put("steps", needs.stream().map(PlanReport::json).toList());
        }
        return json;
    }

    private static Map<String, Object> json(Need need) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("step", need.step());
        need.bytes().ifPresent(bytes -> json.put("peak_bytes", bytes));
        return json;
    }

    private static Map<String, Object> json(Module m) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("module", m.name());
        json.put("shape", List.of(m.out(), m.in()));
        json.put("method", m.method());
        m.scheme().ifPresent(s -> json.putAll(json(s)));
        json.put("bytes", m.bytes());
        return json;
    }

    private static Map<String, Object> json(Scheme scheme) {
        Map<String, Object> json = new LinkedHashMap<>();
        if (scheme.weights() instanceof Encoding.Grid<?>(Codes codes, Tiles tiles, ScaleKind _)) {
            json.put("bits", codes.bits());
            json.put("group_size", tiles.cols());
            switch (codes) {
                case Codes.Ints ints -> json.put("symmetric", ints.symmetric());
                case Codes.Floats floats -> json.put("type", floats.type().toString());
            }
        }
        scheme.inputs().ifPresent(inputs -> json.put("inputs", inputs.describe()));
        return json;
    }
}
