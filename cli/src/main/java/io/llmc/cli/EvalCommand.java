// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.cli.DeviceOptions.DeviceSpec;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.Evaluator;
import io.llmc.evaluation.LogitsDump;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.RecipeException;
import java.nio.file.Path;
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
            "  llmc eval testdata/tale-llama --against testdata/tale-llama --data testdata/tale-llama/test.txt"
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
        Progress progress = console.progress();
        DeviceSpec where = device.toDeviceSpec();
        try (Backend backend = wiring.devices().open(where, progress)) {
            files.ifPresent(f ->
                    new LogitsDump(backend, progress).run(directory, f.inputIds(), f.saveLogits()));
            spec.map(new Evaluator(backend, progress, where.options().memory())::evaluate)
                    .map(EvalReport::new)
                    .ifPresent(report -> console.result(report.text(), report.json()));
        }
        return ExitCode.OK;
    }
}
