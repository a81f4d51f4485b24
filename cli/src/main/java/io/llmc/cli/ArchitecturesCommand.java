// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.LogOptions;
import io.llmc.cli.report.ArchitectureTable;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

@Command(
        name = "architectures",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description =
                "Lists every model_type that llmc reads, alone or as the text part of a model, and"
                        + " what can be done with it; with -v what stops the rest.",
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
        Console console = new Console(wiring, log.toVerbosity());
        ArchitectureTable table = ArchitectureTable.ofAll();
        console.result(table.text(console.verbose()), table.json());
        return ExitCode.OK;
    }
}
