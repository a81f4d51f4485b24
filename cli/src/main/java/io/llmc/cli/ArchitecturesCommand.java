// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.LogOptions;
import io.llmc.model.arch.Architectures;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

@Command(
        name = "architectures",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description =
                "Lists every model_type that llmc reads, alone or as the text part of a model.",
        footer = {"", "Example:", "  llmc architectures"})
final class ArchitecturesCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    ArchitecturesCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        List<String> types = Architectures.modelTypes();
        new Console(wiring, log.toVerbosity())
                .result(String.join("\n", types) + "\n", Map.of("model_types", types));
        return ExitCode.OK;
    }
}
