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
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

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
            files.ifPresent(
                    f ->
                            new LogitsDump(backend, progress)
                                    .run(directory, f.inputIds(), f.saveLogits()));
            spec.map(new Evaluator(backend, progress, where.options().memory())::evaluate)
                    .map(EvalReport::new)
                    .ifPresent(report -> console.result(report.text(), report.json()));
        }
        return ExitCode.OK;
    }

    private static Inputs inputs(
            Path model, Optional<EvalSpec> spec, Optional<LogitsOptions.Files> files) {
        List<Input> all = new ArrayList<>(List.of(new Input("the model", model, false)));
        spec.ifPresent(
                s -> {
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
