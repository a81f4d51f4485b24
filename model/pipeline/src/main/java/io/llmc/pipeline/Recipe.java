// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.reader.Reader;
import io.llmc.pipeline.reader.Target;
import io.llmc.tokenizer.CalibrationSpec;
import io.llmc.tokenizer.WeightedText;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/// What to do with a model: the program that the command line writes and a recipe file holds.
///
/// @param treatAs what models are read as whose `model_type` llmc does not know; null for nothing
/// @param output null where no step writes
/// @param calibration null where nothing calibrates
/// @param steps in order; each reads what the one before it wrote
/// @param source the mapping that this was read from, for the provenance file
public record Recipe(
        Path model,
        String treatAs,
        Path output,
        CalibrationSpec calibration,
        List<Step> steps,
        Save save,
        Map<String, Object> source) {

    private static final Option<List<String>> DATA =
            Option.texts(
                            "data",
                            "FILE",
                            "Text (.txt), or records with \"text\" or \"messages\" (.jsonl); or"
                                    + " several with weights: a.txt:3,b.jsonl:1 (default: text that the"
                                    + " model writes itself).")
                    .flagged("--calib-data");

    private static final Option<Integer> SAMPLES =
            Option.integer("samples", 128, "Windows of text to use (default: %s).")
                    .flagged("--calib-samples");

    private static final Option<Integer> LENGTH =
            Option.integer("length", 512, "Tokens in a window (default: %s).")
                    .flagged("--calib-length");

    private static final Option<CalibrationSpec.Order> ORDER =
            Option.choice(
                            "order",
                            CalibrationSpec.Order.class,
                            CalibrationSpec.Order.RANDOM,
                            "Which windows: random, drawn with the seed, or first (default: %s).")
                    .flagged("--calib-order")
                    .as("ORDER");

    private static final Option<Long> SEED =
            Option.whole("seed", 0L, "Draws the windows, or the model's own text (default: %s).");

    private static final Option<Boolean> COVERAGE =
            Option.flag(
                    "coverage",
                    false,
                    "Show first what the windows reach: tokens of each expert, inputs that never"
                            + " wake.");

    /// The text that shows a method what the model's activations are like.
    public static final List<Option<?>> CALIBRATION =
            List.of(DATA, SAMPLES, LENGTH, ORDER, SEED, COVERAGE);

    /// How the result is written.
    ///
    /// @param shardSize bytes of data in a file, at most
    /// @param reader that has to be able to load it; empty for none in particular
    public record Save(WeightLayout layout, long shardSize, Optional<Reader> reader) {}

    /// Of a command that only measures.
    public static Recipe measuring(Models models, List<Step> steps) {
        Path model = models.main();
        Map<String, Object> source = Map.of("model", model.toString());
        return new Recipe(model, models.family(), null, null, steps, null, source);
    }

    /// Reads a recipe strictly.
    ///
    /// @param known every step there is
    /// @throws RecipeException naming the place of what is wrong
    public static Recipe read(Options o, List<Step.Factory> known, Map<String, Object> source) {
        Path model = o.path("model");
        String treatAs = o.text("treatAs", null);
        Path output = o.path("output", (Path) null);
        Options c = o.section("calibration");
        List<Step> steps = new ArrayList<>();
        for (Options step : o.sections("steps")) {
            steps.add(step(step, known));
        }
        if (output == null && (steps.isEmpty() || steps.stream().anyMatch(Step::writes))) {
            throw o.error("output", "output is missing");
        }
        if (steps.isEmpty()) {
            throw o.error("steps", "a recipe needs at least one step");
        }
        boolean calibrates = steps.stream().anyMatch(Step::calibrates);
        if (!calibrates && !c.has("data") && !c.keys().isEmpty()) {
            String key = c.keys().iterator().next();
            throw c.error(
                    key, key + " is for calibration, but no method here calibrates; leave it out");
        }
        CalibrationSpec calibration = calibrates || c.has("data") ? calibration(c) : null;
        Options s = o.section("save");
        WeightLayout layout = layout(s, steps);
        Save save = new Save(layout, s.size("shardSize", "5G"), reader(s, steps));
        o.finish();
        return new Recipe(model, treatAs, output, calibration, steps, save, source);
    }

    private static WeightLayout layout(Options save, List<Step> steps) {
        String usual =
                steps.stream()
                        .flatMap(step -> step.usualLayout().stream())
                        .findFirst()
                        .orElse("compressed-tensors");
        String name = save.text("layout", usual);
        return Layouts.WRITTEN.stream()
                .filter(l -> l.name().equals(name))
                .findFirst()
                .orElseThrow(() ->
                        save.error(
                                "layout",
                                "layout is %s, expected one of %s"
                                        .formatted(
                                                name,
                                                Layouts.WRITTEN.stream()
                                                        .map(WeightLayout::name)
                                                        .collect(Collectors.joining(", ")))));
    }

    private static Optional<Reader> reader(Options save, List<Step> steps) {
        String name = save.text("target", null);
        int parts = save.integer("tp", 1);
        if (parts < 1) {
            throw save.error("tp", "tp is %d, expected at least 1".formatted(parts));
        }
        if (name == null) {
            if (save.has("tp")) {
                throw save.error("tp", "tp says how target spreads the model; name a target");
            }
            return Optional.empty();
        }
        if (steps.stream().noneMatch(Step::sweeps)) {
            throw save.error("target", "target is for sweeps, and no step is one; leave it out");
        }
        return Arrays.stream(Target.values())
                .filter(target -> target.spelling().equals(name))
                .findFirst()
                .map(target -> Optional.of(new Reader(target, parts)))
                .orElseThrow(() ->
                        save.error(
                                "target",
                                "target is %s, expected one of %s"
                                        .formatted(
                                                name,
                                                Arrays.stream(Target.values())
                                                        .map(Target::spelling)
                                                        .collect(Collectors.joining(", ")))));
    }

    private static CalibrationSpec calibration(Options o) {
        List<String> data = DATA.read(o);
        return new CalibrationSpec(
                !o.has("data")
                        ? List.of()
                        : data.size() == 1
                                ? List.of(new WeightedText(o.path("data", data.getFirst()), 1))
                                : Mix.read(o, "data", data),
                SAMPLES.read(o),
                LENGTH.read(o),
                ORDER.read(o),
                SEED.read(o),
                COVERAGE.read(o));
    }

    private static Step step(Options o, List<Step.Factory> known) {
        // A name without anything below, `- rtn:`, is one with nothing but defaults.
        for (Step.Factory factory : known) {
            if (o.keys().contains(Options.camel(factory.name()))) {
                return factory.read().apply(o);
            }
        }
        String key = o.keys().stream().findFirst().orElse("");
        String names = known.stream().map(Step.Factory::name).collect(Collectors.joining(", "));
        throw o.error(key, "unknown step " + key + "; known: " + names);
    }

    public boolean calibrates() {
        return steps.stream().anyMatch(Step::calibrates);
    }
}
