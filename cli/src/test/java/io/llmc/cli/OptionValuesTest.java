// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.prune.PrunePasses;
import io.llmc.quantize.QuantizePasses;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.OptionSpec;

/// Every option and argument of every command, with values that nobody means.
@Tag("long")
class OptionValuesTest {
    private static final List<String> POISON =
            List.of(
                    "",
                    " ",
                    "0",
                    "-1",
                    "1",
                    "2147483647",
                    "9999999999999999999",
                    "NaN",
                    "1e99",
                    "a\0b",
                    "\ud800",
                    "a\nb",
                    "a".repeat(3_000),
                    "*",
                    "re:(a+)+$",
                    "[[");

    /// A file that is written gets no name in the working directory.
    private static final Set<String> WRITTEN =
            Set.of(
                    "--output",
                    "--json",
                    "--junit",
                    "--markdown",
                    "--report",
                    "--save-kld-base",
                    "--save-logits",
                    "--save-teacher");

    private static final Set<String> SEEN = new HashSet<>();

    @TempDir private static Path dir;

    /// Words that work, each option as `--name=value`.
    private record Command(List<String> words) {
        static Command of(String... words) {
            return new Command(List.of(words));
        }

        List<ArgSpec> arguments() {
            return Llmc.commandLine(Wiring.system(OutputStream.nullOutputStream()))
                    .getSubcommands()
                    .get(words.getFirst())
                    .getCommandSpec()
                    .args();
        }

        List<String> with(ArgSpec argument, String value) {
            List<String> changed = new ArrayList<>(words);
            if (argument instanceof OptionSpec option) {
                String name = option.longestName();
                changed.removeIf(word -> word.startsWith(name + "="));
                if (words.getFirst().equals("prune") && !name.equals("--method")) {
                    changed.add("--method=" + method(option));
                }
                changed.add(name + "=" + (WRITTEN.contains(name) ? inside(value) : value));
            } else {
                changed.set(1, value);
            }
            return changed;
        }

        /// Descriptions begin with the methods that an option is for.
        private static String method(OptionSpec option) {
            String first = option.description()[0].split("[^a-z-]", 2)[0];
            return PrunePasses.ALL.stream().anyMatch(pass -> pass.name().equals(first))
                    ? first
                    : "sparsegpt";
        }
    }

    static Stream<Command> commands() throws IOException {
        String model = Cli.TALE_LLAMA.toString();
        String data = "--data=" + Cli.TALE_LLAMA.resolve("test.txt");
        String calibration = "--calib-data=" + Cli.TALE_LLAMA.resolve("calibration.txt");
        String output = "--output=" + dir.resolve("out");
        String teacher = "--teacher=" + model;
        String cache = "--save-teacher=" + dir.resolve("cache");
        Path recipe = dir.resolve("recipe.yaml");
        Files.writeString(recipe, QuantizePasses.ALL.getFirst().sample());
        return Stream.of(
                Command.of("quantize", model, output, calibration, "--group-size=64", "--dry-run"),
                Command.of("prune", model, output, calibration, "--dry-run"),
                Command.of("distill", model, output, data, teacher, "--dry-run"),
                Command.of("distill", "-q", data, teacher, cache, "--dry-run"),
                Command.of(
                        "eval", Cli.TINY_LLAMA.toString(), data, "--window=64", "--max-windows=1"),
                Command.of("run", recipe.toString(), "--dry-run"),
                Command.of("inspect", model),
                Command.of("devices", "-q"));
    }

    @ParameterizedTest
    @MethodSource("commands")
    void isUsedOrRefusedInOneSentence(Command command) {
        for (ArgSpec argument : command.arguments()) {
            if (argument instanceof OptionSpec option && !SEEN.add(key(command, option))) {
                continue;
            }
            for (String value : POISON) {
                List<String> words = command.with(argument, value);
                check(Cli.run(words.toArray()), words);
            }
        }
    }

    /// Options of one class are the same in all commands.
    private static String key(Command command, OptionSpec option) {
        return option.userObject() instanceof Field field
                        && !field.getDeclaringClass().getSimpleName().startsWith("Recipe")
                ? field.toString()
                : command.words() + option.longestName();
    }

    private static String inside(String value) {
        return value.isEmpty() ? value : dir.resolve("x") + value;
    }

    private static void check(Cli cli, List<String> words) {
        String what = "%.300s: %.2000s".formatted(words, cli.err());
        assertThat(cli.exit()).as(what).isIn(ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE);
        if (cli.exit() != ExitCode.OK) {
            assertThat(cli.err()).as(what).startsWith("llmc: ").hasSizeLessThan(5000);
            assertThat(cli.err().lines().skip(1)).as(what).allMatch(OptionValuesTest::helps);
        }
    }

    private static boolean helps(String line) {
        return line.startsWith("see llmc") || line.startsWith("Possible solutions");
    }
}
