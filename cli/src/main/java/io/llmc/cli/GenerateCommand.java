// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeclaredOptions;
import io.llmc.cli.options.Declaring;
import io.llmc.cli.options.DeviceOptions;
import io.llmc.cli.options.GenerateOptions;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.ModelOptions;
import io.llmc.pipeline.generation.GenerationSettings;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;

@Command(
        name = "generate",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Continues texts, or answers in a conversation.",
        footer = {
            "",
            "Example:",
            "  llmc generate testdata/tale-llama --prompt Once --max-tokens 32"
        })
final class GenerateCommand implements Callable<Integer>, Declaring {
    private static final String NAME = "generate";

    private final Wiring wiring;
    private final LogOptions log;
    private final DeclaredOptions sampling =
            new DeclaredOptions(Map.of(NAME, GenerationSettings.OPTIONS));

    @Mixin private ModelOptions model;
    @Mixin private GenerateOptions texts;
    @Mixin private DeviceOptions device;

    GenerateCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public void declare(CommandSpec command) {
        sampling.addTo(command, "sampling");
    }

    @Override
    public Integer call() {
        RecipeTree tree = new RecipeTree(NAME);
        tree.putAll("", sampling.toSettings(NAME));
        new GenerateJob(
                        wiring,
                        new Console(wiring, log.toVerbosity()),
                        device.toDeviceSpec(),
                        model.toModels(),
                        texts.toRequest())
                .run(tree.options());
        return ExitCode.OK;
    }
}
