// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.Layouts;
import io.llmc.formats.UserException;
import io.llmc.formats.WeightLayout;
import io.llmc.tokenizer.CalibrationSpec;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// What to do with a model: the program that the command line writes and a recipe file holds.
///
/// @param calibration null where nothing calibrates
/// @param steps in order; each reads what the one before it wrote
/// @param source the mapping that this was read from, for the provenance file
public record Recipe(
        Path model,
        Path output,
        CalibrationSpec calibration,
        List<Step> steps,
        Save save,
        Map<String, Object> source) {

    /// One item of `steps`.
    public sealed interface Step permits Sweep, Evaluate, Work {
        /// What it reads besides the model that the step before it has left.
        default List<Inputs.Input> inputs() {
            return List.of();
        }
    }

    /// One trip over the blocks.
    ///
    /// @param views change the model as a whole, first, one after the other
    /// @param passes every one works on a block before the next block is read
    public record Sweep(List<ModelPass> views, List<BlockPass> passes) implements Step {
        public Stream<Pass> all() {
            return Stream.concat(views.stream(), passes.stream());
        }

        public boolean calibrates() {
            return all().anyMatch(Pass::calibrates);
        }

        /// A layout's config says one scheme for all packed layers; another grid beside it would be
        /// read as that one.
        ///
        /// @throws UserException where two passes pack layers on different grids
        public void requireOneGrid(WeightLayout layout) {
            List<BlockPass> packing =
                    layout.name().equals("dense")
                            ? List.of()
                            : passes.stream().filter(p -> p.encoding().isPresent()).toList();
            for (BlockPass pass : packing) {
                BlockPass first = packing.getFirst();
                if (!pass.encoding().equals(first.encoding())
                        || pass.groupIndex() != first.groupIndex()) {
                    throw new UserException(
                            "one sweep puts two grids on the model: %s, and %s"
                                    .formatted(grid(first), grid(pass)),
                            "all packed layers of a model have one grid: give both the same bits,"
                                    + " groupSize, symmetric and actOrder, or save with layout dense");
                }
            }
        }

        private static String grid(BlockPass pass) {
            return "%s %s%s"
                    .formatted(
                            pass.name(),
                            pass.encoding().orElseThrow().describe(),
                            pass.groupIndex() ? " in the order of activations" : "");
        }
    }

    /// Measures the model as it is after the steps before.
    ///
    /// @param against null for none
    public record Evaluate(Path data, int window, String convention, int maxWindows, Path against)
            implements Step {
        @Override
        public List<Inputs.Input> inputs() {
            Inputs.Input text = new Inputs.Input("the text", data, false);
            return against == null
                    ? List.of(text)
                    : List.of(text, new Inputs.Input("the original", against, false));
        }
    }

    /// How the result is written.
    ///
    /// @param shardSize bytes of data in a file, at most
    public record Save(WeightLayout layout, long shardSize) {}

    /// Reads a recipe strictly.
    ///
    /// @param passes every method there is
    /// @throws RecipeException naming the place of what is wrong
    public static Recipe read(Options o, List<PassFactory> passes, Map<String, Object> source) {
        return read(o, passes, List.of(), source);
    }

    /// As [#read(Options, List, Map)], with steps of their own kind.
    public static Recipe read(
            Options o,
            List<PassFactory> passes,
            List<Work.Factory> works,
            Map<String, Object> source) {
        Path model = o.path("model");
        Path output = o.path("output");
        Options c = o.section("calibration");
        List<Step> steps = new ArrayList<>();
        for (Options step : o.sections("steps")) {
            steps.add(step(step, passes, works));
        }
        if (steps.isEmpty()) {
            throw o.error("steps", "a recipe needs at least one step");
        }
        boolean calibrates = steps.stream().anyMatch(Recipe::calibrates);
        if (!calibrates && !c.has("data") && !c.keys().isEmpty()) {
            String key = c.keys().iterator().next();
            throw c.error(
                    key, key + " is for calibration, but no method here calibrates; leave it out");
        }
        CalibrationSpec calibration = o.has("calibration") ? calibration(c) : null;
        Options s = o.section("save");
        WeightLayout layout = layout(s);
        Save save = new Save(layout, s.size("shardSize", "5G"));
        o.finish();
        Recipe recipe = new Recipe(model, output, calibration, steps, save, source);
        if (calibration == null && calibrates) {
            throw o.error("calibration", "the recipe calibrates, so calibration.data is needed");
        }
        return recipe;
    }

    private static WeightLayout layout(Options save) {
        String name = save.text("layout", "compressed-tensors");
        return Layouts.ALL.stream()
                .filter(l -> l.name().equals(name))
                .findFirst()
                .orElseThrow(() ->
                        save.error(
                                "layout",
                                "layout is %s, expected one of %s"
                                        .formatted(
                                                name,
                                                Layouts.ALL.stream()
                                                        .map(WeightLayout::name)
                                                        .collect(Collectors.joining(", ")))));
    }

    private static CalibrationSpec calibration(Options o) {
        return new CalibrationSpec(
                o.path("data"),
                o.integer("samples", 128),
                o.integer("length", 512),
                o.choice("order", CalibrationSpec.Order.class, CalibrationSpec.Order.RANDOM),
                o.whole("seed", 0));
    }

    private static Step step(Options o, List<PassFactory> passes, List<Work.Factory> works) {
        // A name without anything below, `- rtn:`, is one with nothing but defaults.
        if (o.keys().contains("sweep")) {
            return sweep(o, passes);
        }
        if (o.keys().contains("evaluate")) {
            Options e = o.section("evaluate");
            return new Evaluate(
                    e.path("data"),
                    e.integer("window", 512),
                    e.text("convention", "gptq"),
                    e.integer("maxWindows", 0),
                    e.path("against", (Path) null));
        }
        for (Work.Factory work : works) {
            String name = Options.camel(work.name());
            if (o.keys().contains(name)) {
                return work.read().apply(o.section(name));
            }
        }
        String key = o.keys().stream().findFirst().orElse("");
        String known =
                works.stream().map(Work.Factory::name).collect(Collectors.joining(", ", ", ", ""));
        throw o.error(
                key,
                "unknown step "
                        + key
                        + "; known: sweep, evaluate"
                        + (works.isEmpty() ? "" : known));
    }

    private static Sweep sweep(Options o, List<PassFactory> passes) {
        List<ModelPass> views = new ArrayList<>();
        List<BlockPass> blocks = new ArrayList<>();
        for (Options item : o.sections("sweep")) {
            switch (pass(item, passes)) {
                case BlockPass pass -> blocks.add(pass);
                case ModelPass pass when blocks.isEmpty() -> views.add(pass);
                case ModelPass pass ->
                        throw item.error(
                                Options.camel(pass.name()),
                                "%s changes the model as a whole, so it must stand before %s"
                                        .formatted(pass.name(), blocks.getFirst().name()));
            }
        }
        if (views.isEmpty() && blocks.isEmpty()) {
            throw o.error("sweep", "a sweep needs at least one method");
        }
        return new Sweep(views, blocks);
    }

    private static Pass pass(Options item, List<PassFactory> passes) {
        for (PassFactory factory : passes) {
            String method = Options.camel(factory.name());
            if (item.keys().contains(method)) {
                return factory.read().apply(item.section(method));
            }
        }
        String key = item.keys().stream().findFirst().orElse("");
        throw item.error(
                key,
                "unknown method %s; known: %s"
                        .formatted(
                                key,
                                passes.stream()
                                        .map(PassFactory::name)
                                        .collect(Collectors.joining(", "))));
    }

    public boolean calibrates() {
        return steps.stream().anyMatch(Recipe::calibrates);
    }

    private static boolean calibrates(Step step) {
        return switch (step) {
            case Sweep sweep -> sweep.calibrates();
            case Evaluate _, Work _ -> false;
        };
    }
}
