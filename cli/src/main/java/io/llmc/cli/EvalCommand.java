// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.cli.options.Declaring;
import io.llmc.cli.options.DeviceOptions;
import io.llmc.cli.options.DeviceOptions.DeviceSpec;
import io.llmc.cli.options.EvalOptions;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.LogitsOptions;
import io.llmc.cli.options.ModelOptions;
import io.llmc.cli.options.ResultOptions;
import io.llmc.cli.report.PlanReport;
import io.llmc.cli.report.RunReport;
import io.llmc.cli.terminal.Durations;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.EvaluateStep;
import io.llmc.evaluation.SaveLogitsStep;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.RecipeRun;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;

@Command(
        name = "eval",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description =
                "Measures a model on a text and on tasks, and how fast it is, by itself or against"
                        + " its original.",
        footer = {
            "",
            "Example:",
            "  llmc eval testdata/tale-llama --against testdata/tale-llama --data"
                    + " testdata/tale-llama/test.txt"
        })
final class EvalCommand implements Callable<Integer>, Declaring {
    private final Wiring wiring;
    private final LogOptions log;
    private final TaskOptions tasks = new TaskOptions();
    private final SpeedOptions speed = new SpeedOptions();

    @Mixin private ModelOptions model;
    @Mixin private EvalOptions measure;
    @Mixin private LogitsOptions logits;
    @Mixin private ResultOptions results;
    @Mixin private DeviceOptions device;

    @Option(
            names = "--latency",
            description =
                    "Time prompts and steps of decoding; with --against both models in turns.")
    private boolean latency;

    @Option(names = "--dry-run", description = "Show what memory it takes; measure nothing.")
    private boolean dryRun;

    @Option(
            names = "--rehearse",
            description =
                    "First do a little of the work again and again for some seconds, to say how"
                            + " long all of it will take.")
    private boolean rehearse;

    EvalCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public void declare(CommandSpec command) {
        tasks.addTo(command);
        speed.addTo(command);
    }

    @Override
    public Integer call() {
        long begun = System.nanoTime();
        Path directory = model.toPath();
        Optional<Step> questions = tasks.toStep(measure.against());
        Optional<Step> timing = speed.toLatency(latency, measure.against());
        Optional<Step> draft = speed.toSpeculation(measure.data());
        boolean compares = questions.isPresent() || timing.isPresent();
        draft.ifPresent(_ -> measure.requireNoText(compares));
        Optional<EvalSpec> spec =
                draft.isPresent()
                        ? Optional.empty()
                        : measure.toEvalSpec(directory, questions.isEmpty() && timing.isEmpty());
        Optional<LogitsOptions.Files> files = logits.toFiles();
        List<Step> steps = new ArrayList<>();
        files.ifPresent(f -> steps.add(new SaveLogitsStep(f.inputIds(), f.saveLogits())));
        spec.ifPresent(s -> steps.add(EvaluateStep.of(s)));
        measure.toBlame(spec).ifPresent(steps::add);
        Stream.of(questions, draft, timing).flatMap(Optional::stream).forEach(steps::add);
        if (steps.isEmpty()) {
            throw new RecipeException(
                    "--data",
                    "a text is needed, or --tasks, or --latency, or --input-ids and"
                            + " --save-logits");
        }
        Console console = new Console(wiring, log.toVerbosity());
        EvalOutput output = new EvalOutput(console, directory, results.toWanted(), begun);
        Recipe recipe = Recipe.measuring(model.toModels(), steps);
        RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe), wiring.version(), false);
        console.requireUnread(run.inputs());
        files.ifPresent(f -> run.inputs().requireUnread(f.saveLogits(), "--save-logits"));
        spec.map(EvalSpec::saveKldBase)
                .ifPresent(f -> run.inputs().requireUnread(f, "--save-kld-base"));
        output.check(run.inputs(), steps);
        Progress progress = console.progress();
        DeviceSpec where = device.toDeviceSpec();
        long memory = where.options().memory();
        try (Backend backend = wiring.devices().open(where, progress)) {
            if (dryRun || wiring.plans()) {
                boolean timed = rehearse || wiring.plans();
                double started = Durations.sinceStart();
                RecipeRun.Preview preview = run.preview(backend, memory, progress, timed);
                plan(console, directory, preview, started);
                return ExitCode.OK;
            }
            List<RunReport> reports = new ArrayList<>();
            run.run(
                    backend,
                    memory,
                    progress,
                    rehearse,
                    result -> reports.add(new RunReport(result)));
            return spec.isPresent() || steps.size() > 1 || files.isEmpty()
                    ? output.show(reports.getFirst())
                    : ExitCode.OK;
        }
    }

    private static void plan(
            Console console, Path directory, RecipeRun.Preview preview, double started) {
        long bytes = preview.needs().stream().mapToLong(n -> n.bytes().orElse(0)).max().orElse(0);
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", directory.toString());
        json.put("peak_bytes", bytes);
        Table table = new Table("ll").row("memory", PlanReport.memory(bytes));
        PlanReport.time(preview.needs(), started)
                .ifPresent(seconds -> {
                    json.put("seconds", seconds);
                    table.row("time", PlanReport.time(seconds));
                });
        console.result("dry run: nothing is measured\n\n" + table, json);
    }
}
