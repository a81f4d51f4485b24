// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.ModelOptions;
import io.llmc.cli.report.InspectReport;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Inputs.Input;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "inspect",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Shows what a model directory holds; reads headers only.",
        footer = {"", "Example:", "  llmc inspect testdata/tale-llama -v"})
final class InspectCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    @Mixin private ModelOptions model;

    InspectCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        Console console = new Console(wiring, log.toVerbosity());
        console.requireUnread(Inputs.of(List.of(new Input("the model", model.toPath(), false))));
        String family = model.toModels().as(model.toPath());
        try (Checkpoint checkpoint = Checkpoint.inspect(model.toPath(), family)) {
            InspectReport report = InspectReport.of(checkpoint);
            console.result(report.text(console.verbose()), report.json());
        }
        return ExitCode.OK;
    }
}
