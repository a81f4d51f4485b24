// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.LogOptions;
import io.llmc.cli.report.InspectReport;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.Step;
import java.io.BufferedReader;
import java.io.PrintWriter;
import java.io.Reader;
import java.io.StringWriter;
import java.io.Writer;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Model.OptionSpec;

/// Whether the end of some work is one that users may see.
public final class Verdict {
    private Verdict() {}

    /// @param thrown null where the work was done
    /// @return what is wrong with it; null for nothing
    public static String of(Throwable thrown) {
        if (thrown == null) {
            return null;
        }
        if (thrown instanceof OutOfMemoryError) {
            return "the Java heap is full";
        }
        StringWriter said = new StringWriter();
        int code =
                new ErrorHandler(wiring(new PrintWriter(said)), new LogOptions())
                        .report(thrown, "llmc");
        List<String> lines = said.toString().lines().toList();
        if (code != ExitCode.FAILED && code != ExitCode.USAGE) {
            return "exit %d: %s".formatted(code, thrown);
        }
        boolean sentence = lines.getFirst().length() > "llmc: ".length() + 5;
        return lines.size() == code && sentence && !lines.getFirst().contains("Exception")
                ? null
                : "no sentence: " + said;
    }

    /// Runs a command.
    ///
    /// @throws Exception what ended it
    public static void run(String... words) throws Exception {
        run(new StringWriter(), words);
    }

    /// Runs a command until it says something.
    public static void interrupt(String line, String... words) {
        StringWriter said =
                new StringWriter() {
                    @Override
                    public void write(String text, int from, int length) {
                        super.write(text, from, length);
                        if (toString().contains(line)) {
                            throw new Interrupted();
                        }
                    }
                };
        try {
            run(said, words);
        } catch (Interrupted e) {
            return;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
        throw new IllegalStateException("it never says " + line + ", only: " + said);
    }

    private static final class Interrupted extends RuntimeException {}

    private static void run(StringWriter said, String... words) throws Exception {
        Exception[] thrown = new Exception[1];
        int code =
                Llmc.commandLine(wiring(new PrintWriter(said)))
                        .setExecutionExceptionHandler((e, _, _) -> {
                            thrown[0] = e;
                            return ExitCode.FAILED;
                        })
                        .execute(words);
        if (thrown[0] != null) {
            throw thrown[0];
        }
        if (code != ExitCode.OK && code != ExitCode.USAGE) {
            throw new IllegalStateException("exit " + code + ": " + said);
        }
    }

    /// What `inspect` shows of a model.
    public static void describe(Checkpoint checkpoint) {
        InspectReport.of(checkpoint).text(true);
    }

    /// A recipe as plain values.
    public static Object recipeTree(String yaml) {
        return RecipeFile.value(yaml, "sample");
    }

    /// What `run --print-recipe` does.
    public static void readRecipe(Path file) {
        Wiring wiring = wiring(new PrintWriter(new StringWriter()));
        RecipeTree tree = RecipeFile.read(file);
        Recipe.read(tree.options(), wiring.steps(), tree.root());
        RecipeFile.write(tree.root());
    }

    /// A recipe of each kind of step.
    public static List<String> sampleSteps() {
        return wiring(new PrintWriter(new StringWriter())).steps().stream()
                .map(Step.Factory::sample)
                .toList();
    }

    /// The long names of a command's options.
    public static List<String> options(String command) {
        return Llmc.commandLine(wiring(new PrintWriter(new StringWriter())))
                .getSubcommands()
                .get(command)
                .getCommandSpec()
                .options()
                .stream()
                .map(OptionSpec::longestName)
                .toList();
    }

    private static Wiring wiring(PrintWriter err) {
        return new Wiring(
                new BufferedReader(Reader.nullReader()),
                new PrintWriter(Writer.nullWriter()),
                err,
                0,
                "fuzz");
    }
}
