// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.OutputLock;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Reader;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What a run that was interrupted leaves to the next one, and to others.
@Tag("long")
class ResumeIT {
    @TempDir private Path dir;
    private Path model;
    private Path text;
    private Path out;
    private Path work;

    /// What a kill looks like from inside.
    private static final class Killed extends Error {}

    @BeforeEach
    void copy() throws IOException {
        model = dir.resolve("model");
        text = copy(Cli.TALE_LLAMA.resolve("calibration.txt"), dir.resolve("calibration.txt"));
        out = dir.resolve("out");
        work = dir.resolve("out.llmc-partial");
        Files.createDirectory(model);
        try (Stream<Path> files = Files.list(Cli.TALE_LLAMA)) {
            for (Path file : files.toList()) {
                copy(file, model.resolve(file.getFileName()));
            }
        }
    }

    private static Path copy(Path from, Path to) throws IOException {
        return Files.copy(from, to);
    }

    private Object[] gptq(Object... more) {
        List<Object> args =
                new ArrayList<>(
                        List.of(
                                "quantize",
                                model,
                                "-o",
                                out,
                                "--group-size",
                                64,
                                "--calib-data",
                                text,
                                "--calib-samples",
                                4,
                                "--calib-length",
                                32));
        args.addAll(Arrays.asList(more));
        return args.toArray();
    }

    /// Runs a command, which dies when a task has come so far.
    ///
    /// @param after advances with a detail; 0 at its end, -n at its n-th beginning
    private void kill(String task, int after, Object... args) throws IOException {
        Path file = dir.resolve("killed.yaml");
        List<Object> print = new ArrayList<>(Arrays.asList(args));
        print.addAll(List.of("--print-recipe", "-q"));
        Files.writeString(file, Cli.run(print.toArray()).out());
        Wiring wiring =
                new Wiring(
                        new BufferedReader(Reader.nullReader()),
                        new PrintWriter(new StringWriter()),
                        new PrintWriter(new StringWriter()),
                        0,
                        "test");
        RecipeTree tree = RecipeFile.read(file);
        Files.delete(file);
        Recipe recipe = Recipe.read(tree.options(), wiring.steps(), tree.root());
        RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe), "test", false);
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            assertThatThrownBy(() -> run.run(backend, Long.MAX_VALUE, dying(task, after), _ -> {}))
                    .isInstanceOf(Killed.class);
        }
    }

    private static Progress dying(String task, int after) {
        return new Progress() {
            private boolean mine;
            private int left = after;

            @Override
            public void begin(String name, long total) {
                mine = name.startsWith(task);
                if (mine && after < 0 && ++left == 0) {
                    throw new Killed();
                }
            }

            @Override
            public void advance(long by, String detail) {
                if (mine && after > 0 && !detail.isEmpty() && --left == 0) {
                    throw new Killed();
                }
            }

            @Override
            public void end() {
                if (mine && after == 0) {
                    throw new Killed();
                }
            }

            @Override
            public void note(String line) {}
        };
    }

    private static Cli done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isZero();
        return cli;
    }

    private static void refused(Cli cli, String... words) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).contains(words);
    }

    private static Map<String, String> tree(Path directory) throws IOException {
        Map<String, String> tree = new TreeMap<>();
        try (Stream<Path> files = Files.list(directory)) {
            for (Path file : files.toList()) {
                tree.put(
                        file.getFileName().toString(),
                        HexFormat.of().formatHex(Files.readAllBytes(file)));
            }
        }
        return tree;
    }

    private Map<String, String> undisturbed(Object... args) throws IOException {
        done(Cli.run(args));
        Map<String, String> tree = tree(out);
        for (String file : tree.keySet()) {
            Files.delete(out.resolve(file));
        }
        Files.delete(out);
        return tree;
    }

    @Test
    void weightsThatWereReplacedAreSeen() throws IOException {
        Map<String, String> whole = undisturbed(gptq());
        kill("compressing", 1, gptq());
        Path weights = model.resolve("model.safetensors");
        FileTime time = Files.getLastModifiedTime(weights);
        byte[] bytes = Files.readAllBytes(weights);
        bytes[bytes.length - 5000] ^= 1;
        Files.write(weights, bytes);
        Files.setLastModifiedTime(weights, time);
        Map<String, String> left = tree(work);
        refused(
                Cli.run(gptq()),
                "but the model's files have changed since: " + weights + " is not what it was");
        assertThat(tree(work)).isEqualTo(left);
        bytes[bytes.length - 5000] ^= 1;
        Files.write(weights, bytes);
        Files.setLastModifiedTime(weights, FileTime.fromMillis(12345));
        assertThat(done(Cli.run(gptq())).out()).contains("blocks were there from an earlier run");
        assertThat(tree(out)).isEqualTo(whole);
    }

    @Test
    void whatHasChangedIsNamed() throws IOException {
        kill("compressing", 1, gptq());
        refused(Cli.run(gptq("--bits", 3)), "holds unfinished work of another command");
        String words = Files.readString(text);
        Files.writeString(text, words + "once more");
        refused(Cli.run(gptq()), "but the calibration text has changed since: " + text);
        Files.writeString(text, words);
        Path tokenizer = model.resolve("tokenizer_config.json");
        String config = Files.readString(tokenizer);
        Files.writeString(tokenizer, config + " ");
        refused(Cli.run(gptq()), "the model's files have changed since: " + tokenizer);
        Files.delete(tokenizer);
        refused(Cli.run(gptq()), "the model's files have changed", "json is gone");
        Files.writeString(tokenizer, config);
        Files.writeString(model.resolve("vocab.json"), "{}");
        refused(Cli.run(gptq()), "vocab.json is new");
        assertThat(done(Cli.run(gptq("--force"))).out()).doesNotContain("earlier run");
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void trainingThatWasInterruptedSeesItsTeacherChange(boolean saves) throws IOException {
        Path teacher = Files.createDirectory(dir.resolve("teacher"));
        for (String file : tree(model).keySet()) {
            copy(model.resolve(file), teacher.resolve(file));
        }
        Object[] learn =
                saves
                        ? new Object[] {
                            "distill",
                            "--save-teacher",
                            out,
                            "--teacher",
                            teacher,
                            "--data",
                            text,
                            "--length",
                            64
                        }
                        : new Object[] {
                            "distill",
                            model,
                            "-o",
                            out,
                            "--teacher",
                            teacher,
                            "--data",
                            text,
                            "--steps",
                            4,
                            "--batch",
                            2,
                            "--length",
                            16,
                            "--save-every",
                            1
                        };
        kill(saves ? "asking" : "distilling", 3, learn);
        Path weights = teacher.resolve("model.safetensors");
        byte[] bytes = Files.readAllBytes(weights);
        bytes[bytes.length - 5000] ^= 1;
        Files.write(weights, bytes);
        refused(
                Cli.run(learn),
                (saves ? "the model" : "the teacher") + "'s files have changed since: " + weights);
        bytes[bytes.length - 5000] ^= 1;
        Files.write(weights, bytes);
        assertThat(done(Cli.run(learn)).err()).contains("continuing after");
    }

    /// Anything but the line that was written is no line: what it stood for is done again.
    @Test
    void aMutatedJournalIsNoReasonToFail() throws IOException {
        Map<String, String> whole = undisturbed(gptq());
        kill("compressing", 2, gptq());
        Path journal = work.resolve("journal.jsonl");
        List<String> lines = Files.readAllLines(journal);
        assertThat(lines).hasSizeGreaterThanOrEqualTo(4);
        Map<String, byte[]> left = new TreeMap<>();
        for (String file : tree(work).keySet()) {
            left.put(file, Files.readAllBytes(work.resolve(file)));
        }
        List<String> others =
                List.of(
                        "",
                        "null",
                        "{}",
                        "[]",
                        "7",
                        "{\"crc\":\"00000000\",\"line\":null}",
                        "{\"block\":0,\"checksums\":null,\"reports\":null}",
                        "\u0000\ufffd",
                        "{");
        for (int i = 0; i < lines.size(); i++) {
            // A line in a way, by turns: what .ci/fuzz changes in a journal is more.
            List<String> ways =
                    List.of(
                            others.get(i % others.size()),
                            lines.get(i).replaceFirst(":\\d", ":7").replace("e", "é"),
                            lines.get(i).substring(0, lines.get(i).length() / 2));
            Files.createDirectories(work);
            for (Map.Entry<String, byte[]> file : left.entrySet()) {
                Files.write(work.resolve(file.getKey()), file.getValue());
            }
            List<String> changed = new ArrayList<>(lines);
            changed.set(i, ways.get(i % ways.size()));
            Files.write(journal, changed);
            done(Cli.run(gptq("-q")));
            assertThat(tree(out)).isEqualTo(whole);
            for (String file : whole.keySet()) {
                Files.delete(out.resolve(file));
            }
            Files.delete(out);
        }
    }

    @Test
    void aBlockOfTheWrongTensorsIsDoneAgain() throws IOException {
        Map<String, String> whole = undisturbed(gptq());
        kill("compressing", 1, gptq());
        Path journal = work.resolve("journal.jsonl");
        String lines = Files.readString(journal);
        int at = lines.indexOf("{\"block\":0");
        String line = "{\"block\":0,\"checksums\":{},\"reports\":[]}";
        java.util.zip.CRC32C crc = new java.util.zip.CRC32C();
        crc.update(line.getBytes(java.nio.charset.StandardCharsets.UTF_8));
        Files.writeString(
                journal,
                lines.substring(0, lines.lastIndexOf('\n', at) + 1)
                        + "{\"crc\":\"%08x\",\"line\":%s}\n".formatted(crc.getValue(), line));
        assertThat(done(Cli.run(gptq())).out()).doesNotContain("earlier run");
        assertThat(tree(out)).isEqualTo(whole);
    }

    @Test
    void aRunThatFailsBeforeItHasFinishedAnythingLeavesNothing() throws IOException {
        Files.writeString(text, "too short");
        refused(Cli.run(gptq()), "");
        assertThat(dir.toFile().list()).containsExactlyInAnyOrder("model", "calibration.txt");
    }

    @Test
    void oneRunAtATimeWorksOnAnOutput() throws IOException {
        long own = ProcessHandle.current().pid();
        try (OutputLock _ = OutputLock.take(out, Progress.NONE)) {
            String busy = "process %d is working on output %s".formatted(own, out);
            refused(Cli.run(gptq()), busy);
            refused(Cli.run(gptq("--force", "--bits", 3)), busy);
            assertThat(out).doesNotExist();
            assertThat(work).doesNotExist();
        }
        assertThat(dir.toFile().list()).containsExactlyInAnyOrder("model", "calibration.txt");
        // What a process that was killed leaves behind keeps nobody out.
        Files.writeString(dir.resolve("out.llmc-lock"), "99999999");
        done(Cli.run(gptq()));
        assertThat(dir.toFile().list())
                .containsExactlyInAnyOrder("model", "calibration.txt", "out");
    }

    @Test
    void anotherProcessIsNamed() throws Exception {
        Process first =
                new ProcessBuilder(
                                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                                "-cp",
                                System.getProperty("java.class.path"),
                                Holder.class.getName(),
                                out.toString())
                        .redirectError(ProcessBuilder.Redirect.INHERIT)
                        .start();
        try {
            assertThat(first.getInputStream().read()).isEqualTo('+');
            refused(Cli.run(gptq()), "process %d is working on".formatted(first.pid()));
        } finally {
            first.destroyForcibly().waitFor();
        }
        done(Cli.run(gptq()));
        assertThat(dir.resolve("out.llmc-lock")).doesNotExist();
    }

    /// Holds an output until it is killed.
    static final class Holder {
        public static void main(String[] args) throws Exception {
            try (OutputLock _ = OutputLock.take(Path.of(args[0]), Progress.NONE)) {
                System.out.print('+');
                System.out.flush();
                Thread.sleep(600_000);
            }
        }
    }

    @Test
    void aRecipeThatWasInterruptedWhileItMeasuredGoesOn() throws IOException {
        Path recipe = dir.resolve("recipe.yaml");
        Files.writeString(
                recipe,
                """
                model: %s
                output: %s
                steps:
                  - sweep:
                      - magnitude: {sparsity: 0.5}
                  - evaluate: {data: %s, window: 32, maxWindows: 2}
                  - sweep:
                      - rtn: {bits: 4, groupSize: 64}
                  - evaluate: {data: %s, window: 32, maxWindows: 2}
                """
                        .formatted(model, out, text, text));
        Object[] run = {"run", recipe, "--json", dir.resolve("result.json")};
        done(Cli.run(run));
        Map<String, String> whole = tree(out);
        String measured = measured();
        for (String file : whole.keySet()) {
            Files.delete(out.resolve(file));
        }
        Files.delete(out);
        kill("evaluate", -1, run);
        assertThat(dir.resolve("out.llmc-step-1")).exists();
        kill("evaluate", -2, run);
        assertThat(out.resolve("journal.jsonl")).exists();
        // Neither is it in the way of the same recipe, nor does another one take it for its own.
        refused(
                Cli.run("run", recipe, "--set", "steps.2.sweep.0.rtn.bits=8"),
                "holds unfinished work of another command");
        Cli again = done(Cli.run(run));
        assertThat(again.err()).doesNotContain("compressing");
        assertThat(tree(out)).isEqualTo(whole);
        assertThat(measured()).isEqualTo(measured);
        assertThat(dir.toFile().list())
                .containsExactlyInAnyOrder(
                        "model", "calibration.txt", "out", "recipe.yaml", "result.json");
    }

    private String measured() throws IOException {
        return new ObjectMapper()
                .readTree(dir.resolve("result.json").toFile())
                .findValues("perplexity")
                .toString();
    }

    /// Reports of an output that had only to be published are those of the run that made it.
    @Test
    void whatWasFinishedIsOnlyPublished() throws IOException {
        Map<String, String> whole = undisturbed(gptq());
        Path mine = Files.createDirectory(out);
        kill("verifying", 0, gptq());
        Files.writeString(mine.resolve("thesis.txt"), "text");
        refused(Cli.run(gptq()), "exists and is not empty");
        Files.delete(mine.resolve("thesis.txt"));
        Cli again = done(Cli.run(gptq()));
        assertThat(again.out()).contains("3 blocks were there from an earlier run");
        assertThat(tree(out)).isEqualTo(whole);
    }
}
