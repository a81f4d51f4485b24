// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.formats.MemoryBudget;
import io.llmc.formats.UserException;
import io.llmc.tokenizer.TextFiles;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.function.Consumer;

/// Runs the steps of a recipe one after the other. Each that writes a directory, but the last,
/// writes one beside the output, which goes when the recipe is done; a run that is interrupted
/// before finds it again.
///
/// @param inputs all that the recipe reads, and its file
/// @param version of llmc, which an output remembers
/// @param force replace an output that is there
public record RecipeRun(Recipe recipe, Inputs inputs, String version, boolean force) {
    /// What a recipe would do.
    ///
    /// @param sweep the first; empty where there is none
    /// @param needs of each step
    public record Preview(Optional<SweepPlan> sweep, List<Need> needs) {}

    /// @param bytes outside the Java heap; empty where they cannot be told from the recipe's own
    ///   model, because a step before changes it
    /// @param seconds empty where nobody asked, or nobody can tell
    public record Need(String step, OptionalLong bytes, OptionalDouble seconds) {
        Need(String step, OptionalLong bytes) {
            this(step, bytes, OptionalDouble.empty());
        }
    }

    /// What a step took.
    ///
    /// @param planned what it was thought to take before its work
    /// @param bytes outside the Java heap that were held at once; empty for a device that counts
    ///   its memory itself
    public record Taken(Need planned, OptionalLong bytes, double seconds) {}

    /// What a recipe did.
    ///
    /// @param outcomes of the steps that had work to do, in order, each with what it took
    public record Result(List<Step.Outcome> outcomes, List<Taken> taken) {}

    /// Refuses where an output could never be, whatever lies there.
    public void requirePlaces() {
        new StepOutputs(this).requirePlaces();
    }

    /// Refuses before the first step what any step would refuse to write.
    public void requireUsable() {
        new StepOutputs(this).requireUsable();
    }

    /// Fails where [#run] would fail before its first work.
    public Preview preview(Backend backend, long memory, Progress progress) {
        return preview(backend, memory, progress, false);
    }

    /// @param timed whether a little of each step is done, to know how long it will take
    public Preview preview(Backend backend, long memory, Progress progress, boolean timed) {
        Step.Context start = start(backend, memory, progress);
        check(start);
        Optional<SweepPlan> sweep = planSweepBehindOthers(start);
        List<Need> needs = new ArrayList<>();
        for (Step step : recipe.steps()) {
            if (needs.size() >= own()) {
                needs.add(estimate(step, start));
                continue;
            }
            try (Step.Plan plan = step.plan(start)) {
                needs.add(need(step, plan, timed ? plan.estimate().map(Estimate::cold) : none()));
                sweep = sweep.or(plan::sizes);
            }
        }
        return new Preview(sweep, needs);
    }

    private static Optional<Double> none() {
        return Optional.empty();
    }

    private static Need need(Step step, Step.Plan plan, Optional<Double> seconds) {
        return new Need(
                step.name(),
                OptionalLong.of(plan.bytes()),
                seconds.map(OptionalDouble::of).orElseGet(OptionalDouble::empty));
    }

    private Step.Context start(Backend backend, long memory, Progress progress) {
        return new Step.Context(this, backend, memory, progress, recipe.model(), recipe.output());
    }

    /// Steps that read the recipe's own model: those up to the first that writes another.
    private int own() {
        int own = 1;
        while (own < recipe.steps().size() && !recipe.steps().get(own - 1).writes()) {
            own++;
        }
        return own;
    }

    /// Of a step behind others, by the model that there is.
    private Need estimate(Step step, Step.Context start) {
        try (Step.Plan plan = step.plan(start.quietly(Long.MAX_VALUE))) {
            // It will keep to the cap, or say so.
            long bytes = Math.min(plan.bytes(), start.memory());
            return new Need(step.name(), OptionalLong.of(bytes));
        } catch (UserException _) {
            return new Need(step.name(), OptionalLong.empty()); // as that model is, it cannot run
        }
    }

    private void check(Step.Context start) {
        // Those before are planned in earnest.
        recipe.steps().subList(own(), recipe.steps().size()).forEach(step -> step.check(start));
        requirePlainBetween();
        requireAlone();
        if (recipe.calibration() != null) {
            recipe.calibration()
                    .data()
                    .forEach(text ->
                            TextFiles.requireFile(
                                    text.file(),
                                    "{calibration.data} names a text: .txt or .jsonl"));
        }
    }

    /// The first sweep is planned before any work, though a step before it may change the model.
    private Optional<SweepPlan> planSweepBehindOthers(Step.Context start) {
        List<Step> sweeps = sweeps();
        if (sweeps.isEmpty() || recipe.steps().indexOf(sweeps.getFirst()) < own()) {
            return Optional.empty();
        }
        try (Step.Plan plan = sweeps.getFirst().plan(start)) {
            return plan.sizes();
        }
    }

    private List<Step> sweeps() {
        return recipe.steps().stream().filter(Step::sweeps).toList();
    }

    /// What a sweep has packed, the next one cannot read as numbers.
    private void requirePlainBetween() {
        List<Step> sweeps = sweeps();
        boolean rounded =
                sweeps.stream().limit(Math.max(0, sweeps.size() - 1)).anyMatch(Step::rounds);
        if (rounded && recipe.save().layout().packs()) {
            throw new UserException(
                    "a sweep follows one that quantizes, but a packed model is not compressed"
                            + " again",
                    "put the methods into one sweep, each with its targets,"
                            + " or save with layout dense");
        }
    }

    /// The model that an adapter goes with must be there when the recipe has run, and an adapter is
    /// no model for the next step.
    private void requireAlone() {
        if (recipe.steps().size() > 1 && recipe.steps().stream().anyMatch(Step::standsAlone)) {
            throw new UserException(
                    "an adapter goes with the recipe's own model, but there are other steps",
                    "leave adapter out to merge it, or run the adapter's step as a recipe of its"
                            + " own");
        }
    }

    /// Runs the steps, shows what they gave, and then deletes what only a run that goes on would
    /// need.
    ///
    /// @param memory bytes outside the Java heap at most
    public void run(Backend backend, long memory, Progress progress, Consumer<Result> report) {
        run(backend, memory, progress, false, report);
    }

    /// @param timed whether a little of each step is done first, to know how long it will take
    public void run(
            Backend backend,
            long memory,
            Progress progress,
            boolean timed,
            Consumer<Result> report) {
        StepOutputs outputs = new StepOutputs(this);
        outputs.requirePlaces();
        Step.Context start = start(backend, memory, progress);
        check(start);
        planSweepBehindOthers(start);
        List<Step.Plan> ready = new ArrayList<>();
        Result result = new Result(new ArrayList<>(), new ArrayList<>());
        try {
            for (Step step : recipe.steps().subList(0, own())) {
                ready.add(step.plan(outputs.place(start, step, 0)));
            }
            try (OutputLock _ =
                    outputs.isEmpty() ? null : OutputLock.take(recipe.output(), progress)) {
                outputs.requireUsable();
                int written = 0;
                for (int i = 0; i < recipe.steps().size(); i++) {
                    Step step = recipe.steps().get(i);
                    Step.Context place = outputs.place(start, step, written);
                    written += step.writes() ? 1 : 0;
                    if (outputs.needs(step, place)) {
                        try (Step.Plan plan = i < ready.size() ? ready.get(i) : step.plan(place)) {
                            Need planned =
                                    need(
                                            step,
                                            plan,
                                            timed ? plan.estimate().map(Estimate::warm) : none());
                            say(planned, progress);
                            backend.host().forgetPeak();
                            long begun = System.nanoTime();
                            result.outcomes().add(plan.run());
                            result.taken().add(taken(planned, backend.host(), begun));
                        }
                    }
                }
                report.accept(result);
                outputs.conclude();
            }
        } finally {
            ready.forEach(Step.Plan::close);
        }
    }

    private static void say(Need planned, Progress progress) {
        planned.seconds()
                .ifPresent(seconds ->
                        progress.note(
                                "%s will take about %.0f s".formatted(planned.step(), seconds)));
    }

    private static Taken taken(Need planned, MemoryBudget memory, long begun) {
        double seconds = (System.nanoTime() - begun) / 1e9;
        long peak = memory.peak();
        OptionalLong bytes = peak == 0 ? OptionalLong.empty() : OptionalLong.of(peak);
        return new Taken(planned, bytes, seconds);
    }
}
