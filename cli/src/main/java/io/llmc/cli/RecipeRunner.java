// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.cli.DeviceOptions.DeviceSpec;
import io.llmc.evaluation.Convention;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.Evaluator;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.OutputLock;
import io.llmc.pipeline.Pass;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.Recipe.Evaluate;
import io.llmc.pipeline.Recipe.Step;
import io.llmc.pipeline.Recipe.Sweep;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.SweepResult;
import io.llmc.pipeline.SweepRunner;
import io.llmc.pipeline.Work;
import io.llmc.tokenizer.TextFiles;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/// Runs the steps of a recipe one after the other. Each that writes a directory, but the last,
/// writes one beside the output, which goes when the recipe is done; a run that is interrupted
/// before finds it again.
///
/// @param inputs all that the recipe reads, and its file
/// @param force replace an output that is there
record RecipeRunner(
        Wiring wiring, DeviceSpec device, Inputs inputs, boolean force, Progress progress) {
    /// What a step gave.
    sealed interface Result {}

    /// @param plan what the sweep set out to do
    record Swept(Sweep step, SweepPlan plan, SweepResult result) implements Result {}

    record Evaluated(Evaluate step, EvalResult result) implements Result {}

    record Worked(Work step, Work.Result result) implements Result {}

    /// What a recipe would do.
    ///
    /// @param sweep the first; empty where there is none
    /// @param needs of each step
    record Plan(Optional<SweepPlan> sweep, List<Need> needs) {}

    /// @param bytes outside the Java heap; empty where they cannot be told from the recipe's own
    ///   model, because a step before changes it
    record Need(String step, OptionalLong bytes) {}

    /// Fails where [#run] would fail before its first work.
    Plan plan(Recipe recipe) {
        stopovers(recipe).requireUsable();
        try (Backend backend = wiring.devices().open(device, progress)) {
            Optional<SweepPlan> sweep = plan(recipe, sweeper(backend));
            List<Need> needs = new ArrayList<>();
            int own = own(recipe);
            for (Step step : recipe.steps()) {
                boolean exact = needs.size() < own;
                needs.add(exact ? need(recipe, step, backend) : estimate(recipe, step, backend));
            }
            return new Plan(sweep, needs);
        }
    }

    /// Steps that read the recipe's own model: those up to the first that writes another.
    private static int own(Recipe recipe) {
        int own = 1;
        while (own < recipe.steps().size() && recipe.steps().get(own - 1) instanceof Evaluate) {
            own++;
        }
        return own;
    }

    private Need need(Recipe recipe, Step step, Backend backend) {
        long bytes = bytes(recipe, step, backend, device.options().memory());
        return new Need(name(step), OptionalLong.of(bytes));
    }

    /// Of a step behind others, by the model that there is.
    private Need estimate(Recipe recipe, Step step, Backend backend) {
        try {
            long bytes = bytes(recipe, step, backend, Long.MAX_VALUE);
            // It will keep to the cap, or say so.
            return new Need(
                    name(step), OptionalLong.of(Math.min(bytes, device.options().memory())));
        } catch (UserException _) {
            return new Need(name(step), OptionalLong.empty()); // as that model is, it cannot run
        }
    }

    private static String name(Step step) {
        return switch (step) {
            case Evaluate _ -> "evaluate";
            case Work work -> work.name();
            case Sweep sweep ->
                    sweep.all().map(Pass::name).distinct().collect(Collectors.joining(", "));
        };
    }

    private long bytes(Recipe recipe, Step step, Backend backend, long cap) {
        return switch (step) {
            case Evaluate e ->
                    new Evaluator(backend, Progress.NONE, cap).bytes(spec(e, recipe.model()));
            case Work work -> work.memory(recipe.model(), backend, cap);
            case Sweep sweep ->
                    new SweepRunner(backend, cap, force, wiring.version(), Progress.NONE)
                            .plan(recipe, sweep, recipe.model())
                            .peakBytes();
        };
    }

    private Stopovers stopovers(Recipe recipe) {
        return new Stopovers(recipe, inputs, wiring.version(), force);
    }

    private Optional<SweepPlan> plan(Recipe recipe, SweepRunner sweeper) {
        for (Step step : recipe.steps()) {
            switch (step) {
                case Evaluate e -> {
                    requireFile(e.data(), "evaluate.data");
                    requireEvaluable(e, sweeper.backend(), recipe.model());
                }
                case Work work -> work.check(recipe.model());
                case Sweep sweep -> sweep.requireOneGrid(recipe.save().layout());
            }
        }
        requirePlainStopovers(recipe);
        requireAlone(recipe);
        if (recipe.calibration() != null) {
            requireFile(recipe.calibration().data(), "--calib-data");
        }
        return sweeps(recipe).stream()
                .findFirst()
                .map(first -> sweeper.plan(recipe, first, recipe.model()));
    }

    /// What a sweep has packed, the next one cannot read as numbers.
    private static void requirePlainStopovers(Recipe recipe) {
        List<Sweep> sweeps = sweeps(recipe);
        boolean packs =
                sweeps.stream()
                        .limit(Math.max(0, sweeps.size() - 1))
                        .flatMap(sweep -> sweep.passes().stream())
                        .anyMatch(pass -> pass.encoding().isPresent());
        if (packs && !recipe.save().layout().name().equals("dense")) {
            throw new UserException(
                    "a sweep follows one that quantizes, but a packed model is not compressed"
                            + " again",
                    "put the methods into one sweep, each with its targets and all with one grid,"
                            + " or save with layout dense");
        }
    }

    /// The model that an adapter goes with must be there when the recipe has run, and an adapter is
    /// no model for the next step.
    private static void requireAlone(Recipe recipe) {
        boolean alone =
                recipe.steps().stream().anyMatch(s -> s instanceof Work work && work.standsAlone());
        if (alone && recipe.steps().size() > 1) {
            throw new UserException(
                    "an adapter goes with the recipe's own model, but there are other steps",
                    "leave adapter out to merge it, or run the adapter's step as a recipe of its"
                            + " own");
        }
    }

    private static void requireFile(Path file, String what) {
        TextFiles.requireFile(file, what + " names a text: .txt or .jsonl");
    }

    private static List<Sweep> sweeps(Recipe recipe) {
        return recipe.steps().stream()
                .filter(Sweep.class::isInstance)
                .map(Sweep.class::cast)
                .toList();
    }

    /// Runs the steps, shows what they gave, and then deletes what only a run that goes on would
    /// need.
    void run(Recipe recipe, Consumer<List<Result>> report) {
        Stopovers stopovers = stopovers(recipe);
        stopovers.requirePlaces();
        try (Backend backend = wiring.devices().open(device, progress)) {
            SweepRunner sweeper = sweeper(backend);
            plan(recipe, sweeper);
            recipe.steps().stream()
                    .limit(own(recipe))
                    .filter(step -> !(step instanceof Sweep))
                    .forEach(step -> need(recipe, step, backend));
            try (OutputLock _ =
                    stopovers.isEmpty() ? null : OutputLock.take(recipe.output(), progress)) {
                stopovers.requireUsable();
                report.accept(run(recipe, sweeper, stopovers));
                stopovers.conclude();
            }
        }
    }

    private List<Result> run(Recipe recipe, SweepRunner sweeper, Stopovers stopovers) {
        List<Result> results = new ArrayList<>();
        Backend backend = sweeper.backend();
        int written = 0;
        for (Step step : recipe.steps()) {
            Path model = stopovers.model(written);
            switch (step) {
                case Evaluate _ when !stopovers.hasModel(model) ->
                        progress.note("what an earlier run has measured is not measured again");
                case Evaluate evaluate -> results.add(evaluate(evaluate, backend, model));
                case Sweep sweep ->
                        write(
                                stopovers,
                                ++written,
                                out -> results.add(sweep(recipe, sweep, sweeper, model, out)));
                case Work work ->
                        write(
                                stopovers,
                                ++written,
                                out -> results.add(work(recipe, work, backend, model, out)));
            }
        }
        return results;
    }

    /// Runs a step that writes a directory, unless an earlier run has finished it.
    private void write(Stopovers stopovers, int number, Consumer<Path> step) {
        if (stopovers.isDone(number)) {
            progress.note("a step that an earlier run finished is not repeated");
        } else {
            step.accept(stopovers.output(number));
        }
    }

    private Worked work(Recipe recipe, Work work, Backend backend, Path model, Path output) {
        try (Interruption _ = new Interruption(wiring.err())) {
            return new Worked(
                    work,
                    work.run(
                            new Work.Scope(
                                    backend,
                                    recipe,
                                    inputs,
                                    model,
                                    output,
                                    device.options().memory(),
                                    force,
                                    wiring.version(),
                                    progress)));
        }
    }

    private Swept sweep(Recipe recipe, Sweep sweep, SweepRunner sweeper, Path model, Path output) {
        SweepPlan plan = sweeper.plan(recipe, sweep, model);
        try (Interruption _ = new Interruption(wiring.err())) {
            return new Swept(sweep, plan, sweeper.run(recipe, inputs, sweep, model, output));
        }
    }

    private Evaluated evaluate(Evaluate e, Backend backend, Path model) {
        return new Evaluated(
                e,
                new Evaluator(backend, progress, device.options().memory())
                        .evaluate(spec(e, model)));
    }

    private static EvalSpec spec(Evaluate e, Path model) {
        return new EvalSpec(
                model,
                e.against(),
                e.data(),
                e.window(),
                Convention.parse(e.convention()),
                0,
                e.maxWindows());
    }

    /// What a step will measure, the model that is there already can be measured on.
    private void requireEvaluable(Evaluate e, Backend backend, Path model) {
        new Evaluator(backend, Progress.NONE, device.options().memory()).bytes(spec(e, model));
    }

    private SweepRunner sweeper(Backend backend) {
        return new SweepRunner(
                backend, device.options().memory(), force, wiring.version(), progress);
    }
}
