// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeviceOptions;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.RecipeOptions;
import io.llmc.cli.options.RecipeOptions.Request;
import io.llmc.pipeline.Inputs.Input;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

@Command(
        name = "run",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Runs a recipe: several methods and measurements in one file.",
        footer = {
            "",
            "Example:",
            "  llmc run docs/recipe.yaml --set steps.0.sweep.0.gptq.damping=0.02 --dry-run"
        })
final class RunCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    @Parameters(
            index = "0",
            paramLabel = "RECIPE",
            description = "File in YAML; paths in it are relative to the working directory.")
    private Path file;

    @Mixin private RecipeOptions run;
    @Mixin private DeviceOptions device;

    RunCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        Request request = run.toRequest();
        RecipeTree tree = RecipeFile.read(file);
        request.changes().forEach(change -> tree.set("", change));
        return new RecipeJob(
                        wiring,
                        log.toVerbosity(),
                        device.toDeviceSpec(),
                        List.of(new Input("the recipe", file, false)))
                .execute(tree, request);
    }
}
