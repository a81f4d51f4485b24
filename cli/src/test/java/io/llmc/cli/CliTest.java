// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.pipeline.pass.PassFactory;
import io.llmc.prune.PrunePasses;
import io.llmc.quantize.QuantizePasses;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import picocli.CommandLine;

class CliTest {
    @TempDir private Path dir;

    static Stream<String> commands() {
        return Llmc.commandLine(Wiring.system(OutputStream.nullOutputStream()))
                .getSubcommands()
                .entrySet()
                .stream()
                .filter(e -> !e.getValue().getCommandSpec().usageMessage().hidden())
                .map(java.util.Map.Entry::getKey);
    }

    @ParameterizedTest
    @MethodSource("commands")
    void everyCommandHasHelpAndAnExample(String command) {
        Cli help = Cli.run(command, "--help");
        assertThat(help.exit()).isZero();
        assertThat(help.err()).isEmpty();
        assertThat(help.out()).startsWith("Usage: llmc " + command);
        Cli example = Cli.run(example(help.out()));
        assertThat(example.exit()).as(example.err()).isZero();
        assertThat(example.out()).isNotBlank();
    }

    /// The words of the last command in a help text, its output temporary.
    private Object[] example(String help) {
        String text = help.substring(help.indexOf("Example:") + "Example:".length());
        String[] words = text.replace("\\\n", " ").strip().split("\\s+");
        assertThat(words[0]).isEqualTo("llmc");
        return Arrays.stream(words)
                .skip(1)
                .map(word -> word.equals("out") ? dir.resolve("out") : word)
                .toArray();
    }

    @Test
    void everyOptionSaysWhatItIsFor() {
        for (CommandLine command :
                Llmc.commandLine(Wiring.system(OutputStream.nullOutputStream()))
                        .getSubcommands()
                        .values()) {
            for (var option : command.getCommandSpec().options()) {
                assertThat(option.description()).as(option.longestName()).isNotEmpty();
            }
        }
    }

    @Test
    void helpAndVersionGoToStandardOutput() {
        assertThat(Cli.run("--help").out())
                .contains("quantize", "eval", "run", "inspect", "devices", "Example:");
        assertThat(Cli.run("--version").out()).isEqualTo("llmc test" + System.lineSeparator());
    }

    @Test
    void noCommandIsUsage() {
        Cli none = Cli.run();
        assertThat(none.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(none.err()).startsWith("Usage: llmc");
        assertThat(none.out()).isEmpty();
    }

    @Test
    void namesThatNoFileCanHave() {
        usage(Cli.run("inspect", "a\0b"), "Invalid value", "a\\u0000b");
        usage(
                Cli.run("quantize", "m", "-o", "a\0b"),
                "--output: output is a\\u0000b, which no file");
        usage(Cli.run("quantize", "m", "-o", ""), "--output: output is empty");
        usage(Cli.run("eval", "m", "--data", "\ud800"), "--data", "\\ud800");
        usage(
                Cli.run("distill", "m", "-o", "o", "--teacher", "\ud800", "--data", "d"),
                "--teacher: teacher is \\ud800, which no file");
        usage(
                Cli.run("distill", "m", "-o", "o", "--teacher", "t", "--mix", "a\0b:1"),
                "--mix: mix is a\\u0000b, which no file");
    }

    @Test
    void aNameWithAnAtIsAName() throws IOException {
        Path file = Files.writeString(dir.resolve("words"), "devices");
        assertThat(Cli.run("inspect", "@" + file).err())
                .isEqualTo(
                        "llmc: @"
                                + file
                                + ": no such directory; download the model first and name the"
                                + " directory, for example: hf download NAME --local-dir DIRECTORY"
                                + System.lineSeparator());
    }

    @Test
    void jsonThatCannotBeWrittenIsRefusedBeforeTheWork() {
        Cli missing = Cli.run("devices", "--json", dir.resolve("none").resolve("a.json"));
        assertThat(missing.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(missing.err()).contains("a.json: there is no directory to write it in; make ");
        assertThat(missing.out()).isEmpty();
        Cli directory = Cli.run("devices", "--json", dir);
        assertThat(directory.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(directory.err()).contains("is a directory, expected a file for JSON");
    }

    @Test
    void methodsInAChainTakeTheFlagsThatTheyDeclare() {
        Cli chain =
                quantize(
                        "--method=rtn+gptq",
                        "--group-size=64",
                        "--damping=0.5",
                        "--set=clip=mse",
                        "--set=blockSize=64",
                        "--calib-data=text",
                        "--print-recipe");
        assertThat(chain.exit()).as(chain.err()).isZero();
        String sweep = chain.out().substring(chain.out().indexOf("  - sweep:"));
        assertThat(sweep)
                .isEqualTo(
                        """
                          - sweep:
                              - rtn:
                                  bits: 4
                                  groupSize: 64
                                  clip: mse
                              - gptq:
                                  bits: 4
                                  groupSize: 64
                                  damping: 0.5
                                  clip: mse
                                  blockSize: 64
                        """);
        usage(
                quantize("--method=rtn+rtn", "--damping=0.5"),
                "--damping: rtn+rtn has no such option; it belongs to gptq");
        assertThat(quantize("--method=awq", "--calib-data=text", "--print-recipe").out())
                .containsSubsequence("- awq:", "- rtn:");
        assertThat(quantize("--method=smooth", "--calib-data=text", "--print-recipe").out())
                .containsSubsequence("- smooth:", "- gptq:");
        assertThat(quantize("--method=awq+gptq", "--calib-data=text", "--print-recipe").out())
                .containsSubsequence("- awq:", "- gptq:")
                .doesNotContain("- rtn:");
        usage(quantize("--method=rtn+", "--bits=4"), "--method: unknown method ; known: rtn, ");
        assertThat(Cli.run("quantize", "--method=rtn+gptq", "--help").out())
                .contains("--damping", "--scheme", "rtn: search each group's range")
                .doesNotContain("rtn, gptq: bits");
    }

    @Test
    void completionIsThere() {
        assertThat(Cli.run("generate-completion").out()).contains("complete -F _complete_llmc");
    }

    @Test
    void unknownWordsAreUsageAndNameTheNearest() {
        usage(Cli.run("quantiz"), "Did you mean: llmc quantize", "see llmc --help");
        usage(
                Cli.run("quantize", "m", "-o", "o", "--bitz", "4"),
                "--bitz",
                "see llmc quantize --help");
        usage(Cli.run("quantize", "m"), "--output");
        usage(Cli.run("quantize", "m", "-o", "o", "--bits", "four"), "--bits", "four");
        usage(Cli.run("quantize", "m", "-o", "o", "--threads", "0"), "--threads");
        usage(Cli.run("quantize", "m", "-o", "o", "--memory", "lots"), "--memory", "800M");
        usage(
                Cli.run("quantize", "m", "-o", "o", "--math", "fast"),
                "auto, onednn, cublas or portable");
        usage(
                Cli.run("eval", "m", "--data", "x", "--convention", "best"),
                "gptq, llama.cpp, sliding");
        usage(Cli.run("eval", "m"), "--data");
        usage(Cli.run("eval", "m", "--input-ids", "x"), "--save-logits");
    }

    @Test
    void badValuesOfARecipeAreUsageAndNameTheFlag() {
        usage(quantize("--method", "rtm"), "--method: unknown method rtm; known: rtn, gptq");
        assertThat(quantize("--method", "wanda").err())
                .startsWith("llmc: --method: unknown method wanda; known: rtn, gptq")
                .doesNotContain("magnitude");
        usage(quantize("--method", "rtn", "--bits", "9"), "--bits: bits must be 2 to 8: 9");
        usage(quantize("--method", "rtn", "--group-size", "x"), "--group-size");
        usage(quantize("--method", "rtn", "--act-order", "static"), "--act-order");
        usage(
                quantize("--method", "rtn", "--layout", "zip"),
                "--layout",
                "compressed-tensors",
                "gptq",
                "dense");
        usage(quantize("--method", "rtn", "--set", "clop=mse"), "--set clop", "did you mean clip?");
        for (String size :
                List.of("0", "-1", "0.0001K", "9999999999999999999T", "5X", "lots", "")) {
            usage(
                    quantize("--method", "rtn", "--shard-size", size),
                    "--shard-size: \"" + size + "\" is not a size; write 800M, 5G");
        }
        usage(quantize("--method", "rtn", "--set", "clipNorm=.nan"), "--set clipNorm", "number");
        usage(
                quantize("--method", "rtn", "--targets", "q_proj", "--set", "targets=[a, null]"),
                "--set targets");
        usage(
                quantize("--calib-data", "a.txt,b.txt:2"),
                "--calib-data: data has a.txt, expected FILE:WEIGHT");
        usage(
                quantize("--calib-data", "x", "--calib-order", "last"),
                "--calib-order",
                "random, first");
        usage(
                quantize("--calib-data", "x", "--act-order", "all"),
                "--act-order",
                "static, group, none");
    }

    static Stream<PassFactory> passes() {
        return Stream.concat(QuantizePasses.ALL.stream(), PrunePasses.ALL.stream());
    }

    @ParameterizedTest
    @MethodSource("passes")
    void everyMethodsSampleCanBeRun(PassFactory pass) throws IOException {
        Path recipe = Files.writeString(dir.resolve("recipe.yaml"), pass.sample());
        Cli plan = Cli.run("run", recipe, "--set", "output=" + dir.resolve("out"), "--dry-run");
        assertThat(plan.exit()).as(plan.err()).isZero();
        assertThat(pass.sample()).contains("- " + pass.name() + ":");
        assertThat(plan.out()).contains("nothing is written");
    }

    private static Cli quantize(String... flags) {
        List<String> args =
                new ArrayList<>(List.of("quantize", Cli.TINY_LLAMA.toString(), "-o", "never"));
        args.addAll(List.of(flags));
        return Cli.run(args.toArray());
    }

    private static void usage(Cli cli, String... words) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).startsWith("llmc: ").contains(words);
        assertThat(cli.err().lines().count()).isLessThanOrEqualTo(3);
        assertThat(cli.out()).isEmpty();
    }
}
