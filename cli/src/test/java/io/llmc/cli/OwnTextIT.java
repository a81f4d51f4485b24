// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Reader;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Calibration without data: the model writes it.
class OwnTextIT {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final String NOTE =
            "no calibration text is named: the model writes 6 windows of 32 tokens itself, with seed 5";

    @TempDir private Path dir;

    private Object[] command(String verb, String out, Object... more) {
        return Stream.concat(
                        Stream.of(
                                verb,
                                Cli.TALE_LLAMA,
                                "-o",
                                dir.resolve(out),
                                "--calib-samples",
                                6,
                                "--calib-length",
                                32),
                        Stream.of(more))
                .toArray();
    }

    private static Object[] with(Object[] words, Object... more) {
        return Stream.concat(Stream.of(words), Stream.of(more)).toArray();
    }

    private static Cli done(Object... words) {
        Cli run = Cli.run(words);
        assertThat(run.exit()).as(run.err()).isZero();
        return run;
    }

    private JsonNode provenance(String out) throws IOException {
        return JSON.readTree(dir.resolve(out).resolve("llmc.json").toFile()).path("calibration");
    }

    @Test
    void reportAndProvenanceSayWhoWroteTheText() throws IOException {
        Cli run = done(command("quantize", "a", "--seed", 5));
        assertThat(run.out()).contains("note: " + NOTE);
        assertThat(run.err()).contains(NOTE, "writing calibration text done");
        JsonNode calibration = provenance("a");
        assertThat(calibration.path("text").textValue()).isEqualTo("written by the model");
        assertThat(calibration.path("seed").intValue()).isEqualTo(5);
        assertThat(calibration.path("windows").intValue()).isEqualTo(6);
        done(command("prune", "b", "--method", "wanda", "--sparsity", "0.5", "--seed", 5));
        assertThat(provenance("b")).isEqualTo(calibration);
        done(command("quantize", "c", "--seed", 6));
        assertThat(provenance("c").path("ids_sha256")).isNotEqualTo(calibration.path("ids_sha256"));
        Path text = Cli.TALE_LLAMA.resolve("calibration.txt");
        done(command("quantize", "d", "--calib-data", text));
        assertThat(provenance("d").has("text")).isFalse();
        assertThat(done(command("quantize", "e", "--dry-run", "--seed", 5)).out()).contains(NOTE);
    }

    /// A method that is content with a sample of 2048 tokens has no more written.
    @Test
    void noWindowIsWrittenThatNobodyLooksAt() throws IOException {
        Cli run =
                done(
                        "quantize",
                        Cli.TALE_LLAMA,
                        "-o",
                        dir.resolve("a"),
                        "--method=awq",
                        "--calib-samples=24",
                        "--calib-length=256");
        assertThat(run.out()).contains("the model writes 8 windows of 256 tokens itself");
        assertThat(run.out()).doesNotContain("calibration windows are used");
        assertThat(provenance("a").path("windows").intValue()).isEqualTo(8);
    }

    @Test
    void whatTheMemoryDoesNotHoldIsRefusedBeforeTheWork() {
        Object[] small = {
            "quantize",
            Cli.TALE_LLAMA,
            "-o",
            dir.resolve("a"),
            "--calib-samples=2",
            "--calib-length=16"
        };
        // How much it is depends on what the processor's products work in.
        String sweep = least(with(small, "--memory=1M"), "lower --calib-length");
        String text = least(with(small, "--memory=" + sweep), "name a calibration text");
        assertThat(dir.resolve("a")).doesNotExist();
        done(with(small, "--memory=" + text));
    }

    /// The memory that a refusal asks for.
    private static String least(Object[] words, String otherwise) {
        Cli run = Cli.run(words);
        assertThat(run.exit()).isEqualTo(ExitCode.FAILED);
        Matcher least =
                Pattern.compile("the least that works here is (\\d+M); raise it, or " + otherwise)
                        .matcher(run.err());
        assertThat(least.find()).as(run.err()).isTrue();
        return least.group(1);
    }

    private static final class Killed extends Error {}

    /// Hears of tasks, and dies at the second block.
    private static final class Dying implements Progress {
        private String task = "";

        @Override
        public void begin(String name, long total) {
            task = name;
        }

        @Override
        public void advance(long by, String detail) {
            if (task.equals("compressing") && detail.contains("layers.1")) {
                throw new Killed();
            }
        }

        @Override
        public void end() {}

        @Override
        public void note(String line) {}
    }

    @Test
    void aRunThatGoesOnDoesNotWriteAgain() throws IOException {
        Path file = dir.resolve("recipe.yaml");
        Files.writeString(file, done(command("quantize", "a", "--print-recipe")).out());
        Wiring wiring =
                new Wiring(
                        new BufferedReader(Reader.nullReader()),
                        new PrintWriter(Writer.nullWriter()),
                        new PrintWriter(Writer.nullWriter()),
                        0,
                        "test");
        RecipeTree tree = RecipeFile.read(file);
        Recipe recipe = Recipe.read(tree.options(), wiring.steps(), tree.root());
        RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe), "test", false);
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            assertThatThrownBy(() -> run.run(backend, Long.MAX_VALUE, new Dying(), _ -> {}))
                    .isInstanceOf(Killed.class);
        }
        assertThat(dir.resolve("a.llmc-partial/own-text-0.note")).exists();
        Cli again = done("run", file);
        assertThat(again.err())
                .contains("continuing after block")
                .doesNotContain("writing calibration text");
        done(command("quantize", "b"));
        for (String name : new String[] {"model.safetensors", "llmc.json"}) {
            assertThat(dir.resolve("a").resolve(name))
                    .hasSameBinaryContentAs(dir.resolve("b").resolve(name));
        }
        assertThat(dir.resolve("a/own-text-0.note")).doesNotExist();
    }
}
