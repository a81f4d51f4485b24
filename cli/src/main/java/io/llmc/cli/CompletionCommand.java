// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.concurrent.Callable;
import picocli.AutoComplete;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

@Command(
        name = "generate-completion",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        hidden = true,
        description = "Prints a script that completes words in bash and zsh.",
        footer = {"", "Example:", "  source <(llmc generate-completion)"})
final class CompletionCommand implements Callable<Integer> {
    private final Wiring wiring;

    @Spec private CommandSpec spec;

    CompletionCommand(Wiring wiring) {
        this.wiring = wiring;
    }

    @Override
    public Integer call() {
        wiring.out().print(AutoComplete.bash("llmc", spec.root().commandLine()));
        wiring.out().flush();
        return ExitCode.OK;
    }
}
