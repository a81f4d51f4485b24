// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// `llmc eval --tasks` as a whole.
class TasksIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Path PIQA = Cli.TESTDATA.resolve("tasks/piqa.jsonl");

    @TempDir private Path dir;

    private static JsonNode json(Object... args) throws IOException {
        Object[] all = java.util.Arrays.copyOf(args, args.length + 3);
        all[args.length] = "--json";
        all[args.length + 1] = "-";
        all[args.length + 2] = "-q";
        Cli cli = Cli.run(all);
        assertThat(cli.exit()).as(cli.err()).isZero();
        return JSON.readTree(cli.out());
    }

    @Test
    void answersAreCountedAndComparedWithTheOriginals() throws IOException {
        JsonNode result =
                json("eval", Cli.TALE_LLAMA, "--against", Cli.TALE_LLAMA, "--tasks", PIQA);
        assertThat(result.path("original").asText()).isEqualTo(Cli.TALE_LLAMA.toString());
        assertThat(result.has("perplexity")).isFalse();
        JsonNode piqa = result.path("tasks").path("piqa");
        assertThat(piqa.path("items").intValue()).isEqualTo(4);
        assertThat(piqa.path("acc").doubleValue()).isEqualTo(piqa.path("original_acc").asDouble());
        assertThat(piqa.path("acc_norm").doubleValue()).isBetween(0.0, 1.0);
        assertThat(piqa.path("acc_lost").intValue()).isZero();
        assertThat(piqa.path("acc_won_ids").isArray()).isTrue();
        assertThat(piqa.path("acc_mcnemar_p").doubleValue()).isEqualTo(1);
    }

    @Test
    void aTextAndTasksStandInOneResult() throws IOException {
        Path lambada =
                Files.writeString(
                        dir.resolve("lambada.jsonl"),
                        """
                        {"text": "The fox saw the dog, and the dog saw the fox"}
                        {"text": "She asked for bread, and he gave her bread"}
                        {"text": "One"}
                        """);
        JsonNode result =
                json(
                        "eval",
                        Cli.TALE_LLAMA,
                        "--data",
                        Cli.TALE_LLAMA.resolve("test.txt"),
                        "--max-windows",
                        1,
                        "--tasks",
                        PIQA + "," + lambada,
                        "--limit",
                        2);
        assertThat(result.path("perplexity").doubleValue()).isPositive();
        assertThat(result.path("tasks").path("piqa").path("items").intValue()).isEqualTo(2);
        assertThat(result.path("tasks").path("lambada").path("perplexity").doubleValue())
                .isPositive();
    }

    @Test
    void whatIsLongerThanTheModelSeesIsCutAndSaid() throws IOException {
        Object[] args = {"eval", Cli.TALE_LLAMA, "--tasks", PIQA, "--fewshot", 2, "--max-length"};
        Object[] shorter = java.util.Arrays.copyOf(args, args.length + 1);
        shorter[args.length] = 40;
        JsonNode cut = json(shorter).path("tasks").path("piqa");
        assertThat(cut.path("cut").intValue()).isEqualTo(8);
        assertThat(cut.path("fewshot").intValue()).isEqualTo(2);
        assertThat(Cli.run(shorter).out()).contains("piqa: 8 questions lost their beginning");
        shorter[args.length] = 512;
        assertThat(json(shorter).path("tasks").path("piqa").path("cut").intValue()).isZero();
        shorter[args.length] = 4;
        Cli none = Cli.run(shorter);
        assertThat(none.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(none.err())
                .contains("piqa.jsonl: line 1: a continuation has ")
                .contains("but the model sees 4 at once; raise --max-length");
    }

    /// As lm-eval's own files do: keys of the including file stand in the place of others.
    @Test
    void aTaskIncludesAnother() throws IOException {
        Path riddles = Cli.TESTDATA.resolve("tasks/riddles.yaml").toAbsolutePath();
        Files.writeString(dir.resolve("more.yaml"), "num_fewshot: 1\ntask: unseen\n");
        Files.writeString(dir.resolve("self.yaml"), "include: self.yaml\n");
        Path own =
                Files.writeString(
                        dir.resolve("own.yaml"),
                        """
                        include: [%s, more.yaml]
                        task: mine
                        num_fewshot: 0
                        """
                                .formatted(riddles));
        String data = "=" + riddles.resolveSibling("riddles.jsonl");
        JsonNode mine = json("eval", Cli.TALE_LLAMA, "--tasks", own + data).path("tasks");
        JsonNode theirs = json("eval", Cli.TALE_LLAMA, "--tasks", riddles).path("tasks");
        assertThat(mine.path("mine")).isEqualTo(theirs.path("riddles"));
        Cli self = Cli.run("eval", Cli.TALE_LLAMA, "--tasks", dir.resolve("self.yaml") + data);
        assertThat(self.err()).contains("self.yaml:1", "includes itself");
        Files.writeString(own, "include: none.yaml\n");
        Cli none = Cli.run("eval", Cli.TALE_LLAMA, "--tasks", own + data);
        assertThat(none.err()).contains("own.yaml: includes none.yaml");
        assertThat(none.exit()).isEqualTo(1);
        Files.writeString(own, "include: %s\nmetric_list: [{metric: ac}]\n".formatted(riddles));
        Cli wrong = Cli.run("eval", Cli.TALE_LLAMA, "--tasks", own + data);
        assertThat(wrong.err()).contains("own.yaml:2");
    }

    @Test
    void aRecipePutsTasksToWhatItMade() throws IOException {
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: %s
                        output: %s
                        steps:
                          - sweep: [rtn: {bits: 4, groupSize: 128}]
                          - tasks: {files: %s, against: %s, fewshot: 1}
                        """
                                .formatted(
                                        Cli.TALE_LLAMA, dir.resolve("out"), PIQA, Cli.TALE_LLAMA));
        JsonNode steps = json("run", recipe).path("steps");
        assertThat(steps.path(1).path("tasks").path("piqa").path("fewshot").intValue()).isOne();
        assertThat(steps.path(1).path("model").asText()).isEqualTo(dir.resolve("out").toString());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--limit=2 | 2 | --tasks: files is missing",
                "--tasks=none.jsonl | 1 | none.jsonl: its name begins with that of no task; known: arc, ",
                "--tasks=piqa=none.jsonl | 1 | none.jsonl: no such file",
                "--tasks=piqa=testdata/tasks/piqa.jsonl,testdata/tasks/piqa.jsonl | 1 | two tasks would be called piqa",
                "--tasks=testdata/tasks/piqa.jsonl --fewshot=-1 | 2 | --fewshot: fewshot is -1, expected 0 or more",
                "--tasks=testdata/tasks/piqa.jsonl --fewshot=3 | 1 | piqa.dev.jsonl has 2 items, but 3 solved ones are to stand before line 1",
                "--tasks=testdata/tasks/piqa.dev.jsonl --fewshot=1 | 1 | there is no piqa.dev.dev.jsonl",
                "--tasks=testdata/tasks/piqa.jsonl --max-length=99999 | 1 | --max-length is 99,999, but testdata/tale-llama has",
                "--tasks=testdata/tasks/piqa.jsonl --json=testdata/tasks/piqa.jsonl | 1 | would overwrite",
            })
    void whatCannotBeAskedIsRefused(String flags, int code, String message) {
        String[] words = flags.split(" ", -1);
        Object[] args = new Object[words.length + 2];
        args[0] = "eval";
        args[1] = Cli.TALE_LLAMA;
        System.arraycopy(words, 0, args, 2, words.length);
        Cli cli = Cli.run(args);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(code);
        assertThat(cli.err()).contains(message);
        assertThat(cli.out()).isEmpty();
    }

    /// The example of docs/tasks.md.
    @Test
    void aTaskOfOnesOwnNamesItsData() throws IOException {
        JsonNode riddles =
                json("eval", Cli.TALE_LLAMA, "--tasks", "testdata/tasks/riddles.yaml")
                        .path("tasks")
                        .path("riddles");
        assertThat(riddles.path("items").intValue()).isEqualTo(3);
        assertThat(riddles.has("acc")).isTrue();
        assertThat(riddles.has("acc_norm")).isFalse();
        String shown = Files.readString(Cli.TESTDATA.resolve("tasks/riddles.yaml"));
        assertThat(Files.readString(Cli.TESTDATA.resolveSibling("docs/tasks.md")))
                .contains(shown.substring(shown.indexOf("task: ")));
    }

    @Test
    void aDryRunSaysWhatItTakes() throws IOException {
        JsonNode plan = json("eval", Cli.TALE_LLAMA, "--tasks", PIQA, "--dry-run");
        assertThat(plan.path("peak_bytes").longValue()).isPositive();
    }
}
