// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.cli.DeviceOptions.DeviceSpec;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.Evaluator;
import io.llmc.evaluation.LogitsDump;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.RecipeException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "eval",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Measures a model on a text, by itself or against its original.",
        footer = {
            "",
            "Example:",
            "  llmc eval testdata/tale-llama --against testdata/tale-llama --data"
                    + " testdata/tale-llama/test.txt"
        })
final class EvalCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    @Mixin private ModelOptions model;
    @Mixin private EvalOptions measure;
    @Mixin private LogitsOptions logits;
    @Mixin private DeviceOptions device;

    @Option(names = "--dry-run", description = "Show what memory it takes; measure nothing.")
    private boolean dryRun;

    EvalCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        Path directory = model.toPath();
        Optional<EvalSpec> spec = measure.toEvalSpec(directory);
        Optional<LogitsOptions.Files> files = logits.toFiles();
        if (spec.isEmpty() && files.isEmpty()) {
            throw new RecipeException(
                    "--data", "a text is needed, or --input-ids and --save-logits");
        }
        Console console = new Console(wiring, log.toVerbosity());
        Inputs inputs = inputs(directory, spec, files);
        console.requireUnread(inputs);
        files.ifPresent(f -> inputs.requireUnread(f.saveLogits(), "--save-logits"));
        Progress progress = console.progress();
        DeviceSpec where = device.toDeviceSpec();
        try (Backend backend = wiring.devices().open(where, progress)) {
            if (dryRun) {
                plan(console, backend, where, progress, directory, files, spec);
                return ExitCode.OK;
            }
            files.ifPresent(f ->
                    new LogitsDump(backend, progress, where.options().memory())
                            .run(directory, f.inputIds(), f.saveLogits()));
            spec.map(new Evaluator(backend, progress, where.options().memory())::evaluate)
                    .map(EvalReport::new)
                    .ifPresent(report -> console.result(report.text(), report.json()));
        }
        return ExitCode.OK;
    }

    private void plan(
            Console console,
            Backend backend,
            DeviceSpec where,
            Progress progress,
            Path directory,
            Optional<LogitsOptions.Files> files,
            Optional<EvalSpec> spec) {
        long cap = where.options().memory();
        long dump =
                files.map(f ->
                                new LogitsDump(backend, progress, cap)
                                        .bytes(directory, f.inputIds()))
                        .orElse(0L);
        long bytes =
                Math.max(dump, spec.map(new Evaluator(backend, progress, cap)::bytes).orElse(0L));
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", directory.toString());
        json.put("peak_bytes", bytes);
        console.result(
                "dry run: nothing is measured\n\n"
                        + new Table("ll").row("memory", PlanReport.memory(bytes)),
                json);
    }

    private static Inputs inputs(
            Path model, Optional<EvalSpec> spec, Optional<LogitsOptions.Files> files) {
        List<Input> all = new ArrayList<>(List.of(new Input("the model", model, false)));
        spec.ifPresent(s -> {
            add(all, "the original", s.against());
            add(all, "the text", s.data());
        });
        files.ifPresent(f -> add(all, "the input ids", f.inputIds()));
        return Inputs.of(all);
    }

    private static void add(List<Input> all, String role, Path path) {
        if (path != null) {
            all.add(new Input(role, path, false));
        }
    }
}
