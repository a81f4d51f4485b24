// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.Declaring;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.terminal.StandardError;
import io.llmc.cli.terminal.StandardOutput;
import io.llmc.formats.UserException;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/// Entry point: parses, runs, turns exceptions into exit codes. Knows nothing about models.
@Command(
        name = "llmc",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        synopsisSubcommandLabel = "COMMAND",
        description = "Compresses language models, and measures what that cost.",
        footer = {
            "",
            "Example:",
            "  llmc inspect testdata/tale-llama",
            "",
            "llmc COMMAND --help explains a command."
        })
public final class Llmc implements Callable<Integer> {
    private static final int WIDEST_HELP = 110;
    private static final int NARROWEST_HELP = 80;

    @Spec private CommandSpec spec;
    @Mixin private final LogOptions log = new LogOptions();

    public static void main(String[] args) {
        Locale.setDefault(Locale.ROOT); // figures look the same everywhere
        StandardError.restore();
        StandardOutput output = new StandardOutput();
        System.exit(run(Wiring.system(output), output, args));
    }

    private static int run(Wiring wiring, StandardOutput output, String... args) {
        ErrorHandler errors = new ErrorHandler(wiring, new LogOptions());
        int code;
        try {
            code = commandLine(wiring).execute(args);
        } catch (Error e) {
            code = errors.report(e, "llmc");
        }
        wiring.out().flush();
        Optional<String> lost = output.failure();
        return lost.isPresent() && code == ExitCode.OK
                ? errors.report(
                        new UserException(
                                "the result cannot be written to standard output: " + lost.get(),
                                "--json FILE writes it to a file"),
                        "llmc")
                : code;
    }

    static CommandLine commandLine(Wiring wiring) {
        Llmc llmc = new Llmc();
        CommandLine line = new CommandLine(llmc);
        line.addSubcommand(new QuantizeCommand(wiring, llmc.log));
        line.addSubcommand(new PruneCommand(wiring, llmc.log));
        line.addSubcommand(new DistillCommand(wiring, llmc.log));
        line.addSubcommand(new EvalCommand(wiring, llmc.log));
        line.addSubcommand(new GenerateCommand(wiring, llmc.log));
        line.addSubcommand(new RunCommand(wiring, llmc.log));
        line.addSubcommand(plan(wiring, llmc.log));
        line.addSubcommand(new InspectCommand(wiring, llmc.log));
        line.addSubcommand(new DevicesCommand(wiring, llmc.log));
        line.addSubcommand(new ArchitecturesCommand(wiring, llmc.log));
        line.addSubcommand(new CompletionCommand(wiring));
        line.getCommandSpec().version("llmc " + wiring.version());
        format(line);
        line.getSubcommands().values().forEach(Llmc::prepare);
        ErrorHandler errors = new ErrorHandler(wiring, llmc.log);
        int columns = wiring.columns() == 0 ? WIDEST_HELP : wiring.columns();
        // Names that begin with @ are names.
        line.setExpandAtFiles(false);
        // Where files are mapped, an error may be the user's as well: it takes the same way.
        return line.setExecutionStrategy(
                        parsed -> {
                            try {
                                return new CommandLine.RunLast().execute(parsed);
                            } catch (InternalError e) {
                                return errors.report(e, "llmc");
                            }
                        })
                .setOut(wiring.out())
                .setErr(wiring.err())
                .setExecutionExceptionHandler(errors)
                .setParameterExceptionHandler(errors)
                .setUsageHelpWidth(Math.clamp(columns, NARROWEST_HELP, WIDEST_HELP))
                .setHelpSectionMap(GroupedOptions.sections(line));
    }

    /// A model's plan, and the plans of jobs: the same words that do them, behind `plan`.
    private static CommandLine plan(Wiring wiring, LogOptions log) {
        Wiring planning = wiring.planning();
        return new CommandLine(new PlanCommand(wiring, log))
                .addSubcommand(new QuantizeCommand(planning, log))
                .addSubcommand(new PruneCommand(planning, log))
                .addSubcommand(new DistillCommand(planning, log))
                .addSubcommand(new EvalCommand(planning, log))
                .addSubcommand(new RunCommand(planning, log));
    }

    private static void prepare(CommandLine command) {
        command.getSubcommands().values().forEach(Llmc::prepare);
        if (command.getCommand() instanceof Declaring declaring) {
            declaring.declare(command.getCommandSpec());
        }
        format(command);
    }

    private static void format(CommandLine line) {
        line.getCommandSpec()
                .usageMessage()
                .abbreviateSynopsis(true)
                .parameterListHeading("%n")
                .commandListHeading("%n@|bold Commands|@%n");
    }

    @Override
    public Integer call() {
        spec.commandLine().usage(spec.commandLine().getErr());
        return ExitCode.USAGE;
    }
}
