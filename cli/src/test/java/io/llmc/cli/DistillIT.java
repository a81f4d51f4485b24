// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Teaching through the command line.
class DistillIT {
    private static final Path DATA = Cli.TALE_LLAMA.resolve("calibration.txt");

    @TempDir private Path dir;

    /// The commands of docs/distill.md.
    @Tag("long")
    @Test
    void aPrunedModelIsHealed() throws IOException {
        Path pruned = dir.resolve("pruned");
        Path healed = dir.resolve("healed");
        done(
                Cli.run(
                        "prune",
                        Cli.TALE_LLAMA,
                        "-o",
                        pruned,
                        "--method",
                        "width",
                        "--ffn",
                        368,
                        "--heads",
                        "0.5",
                        "--multiple-of",
                        16,
                        "--calib-data",
                        DATA));
        Cli cli =
                done(
                        Cli.run(
                                "distill",
                                pruned,
                                "-o",
                                healed,
                                "--teacher",
                                Cli.TALE_LLAMA,
                                "--data",
                                DATA,
                                "--steps",
                                200,
                                "--batch",
                                4,
                                "--length",
                                128,
                                "--lr",
                                "1e-3"));
        assertThat(cli.out()).contains("held out loss", "trained weights", "tokens per second");
        assertThat(ratio(pruned)).isGreaterThan(1.3);
        assertThat(ratio(healed)).isLessThan(1.15);
    }

    private static Cli done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isZero();
        return cli;
    }

    /// Perplexity over the original's, on a text that neither was trained on.
    private double ratio(Path model) throws IOException {
        Path json = dir.resolve("eval.json");
        done(
                Cli.run(
                        "eval",
                        model,
                        "--against",
                        Cli.TALE_LLAMA,
                        "--data",
                        Cli.TALE_LLAMA.resolve("test.txt"),
                        "--max-windows",
                        12,
                        "--json",
                        json));
        JsonNode root = new ObjectMapper().readTree(json.toFile());
        return root.findValue("perplexity_ratio").asDouble();
    }

    @Test
    void aRecipePrunesDistillsAndQuantizes() throws IOException {
        Path recipe = dir.resolve("recipe.yaml");
        Path out = dir.resolve("out");
        Files.writeString(
                recipe,
                """
                model: %s
                output: %s
                calibration: {data: %s, samples: 8, length: 64}
                steps:
                  - sweep:
                      - width: {ffn: 0.75}
                  - distill: {teacher: %s, data: %s, steps: 3, batch: 2, length: 64, holdout: 2}
                  - sweep:
                      - gptq: {bits: 4, groupSize: 64}
                """
                        .formatted(Cli.TALE_LLAMA, out, DATA, Cli.TALE_LLAMA, DATA));
        Cli cli = done(Cli.run("run", recipe));
        assertThat(cli.out()).contains("distill", "compressed layers");
        assertThat(Files.readString(out.resolve("config.json")))
                .contains("\"intermediate_size\": 384", "quantization_config");
        try (var left = Files.list(dir)) {
            assertThat(left.map(p -> p.getFileName().toString()))
                    .containsExactlyInAnyOrder("recipe.yaml", "out");
        }
    }

    /// The commands of docs/distill.md.
    @Test
    void aStudentLearnsFromWhatATeacherHasSaid() throws IOException {
        Path cache = dir.resolve("cache");
        Path out = dir.resolve("out");
        Object[] save = {
            "distill",
            "--save-teacher",
            cache,
            "--teacher",
            Cli.TALE_LLAMA,
            "--data",
            DATA,
            "--top-k",
            16,
            "--length",
            64
        };
        assertThat(done(Cli.run(save)).out()).contains("save-teacher", "top k mass");
        assertThat(cache.resolve("tokenizer.json")).exists();
        Cli cli =
                done(
                        Cli.run(
                                "distill",
                                Cli.TALE_LLAMA,
                                "--teacher-cache",
                                cache,
                                "-o",
                                out,
                                "--steps",
                                2,
                                "--batch",
                                2));
        assertThat(cli.out()).contains("held out loss");
        assertThat(out.resolve("model.safetensors")).exists();
    }

    @Test
    void whatDoesNotGoWithASavedTeacherIsNamed() {
        Path cache = dir.resolve("cache");
        usage("--steps", "--save-teacher", cache, "--teacher", Cli.TALE_LLAMA, "--steps", 3);
        usage("MODEL", Cli.TALE_LLAMA, "--save-teacher", cache, "--teacher", Cli.TALE_LLAMA);
        usage("--output", "--save-teacher", cache, "--teacher", Cli.TALE_LLAMA, "-o", "x");
        usage("--teacher", "--save-teacher", cache, "--data", DATA);
        usage("--data", "--save-teacher", cache, "--teacher", Cli.TALE_LLAMA);
        usage("--top-k", Cli.TALE_LLAMA, "-o", "x", "--teacher-cache", cache, "--top-k", 3);
        usage("--output", Cli.TALE_LLAMA, "--teacher-cache", cache);
        usage("MODEL", "-o", "x", "--teacher-cache", cache);
        usage(
                "--teacher-cache",
                Cli.TALE_LLAMA,
                "-o",
                "x",
                "--teacher-cache",
                cache,
                "--teacher",
                Cli.TALE_LLAMA);
    }

    private static void usage(String flag, Object... args) {
        Object[] all = new Object[args.length + 1];
        all[0] = "distill";
        System.arraycopy(args, 0, all, 1, args.length);
        Cli cli = Cli.run(all);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.USAGE);
        assertThat(cli.err()).startsWith("llmc: " + flag + ": ");
    }

    /// The commands of docs/distill.md.
    @Test
    void adaptersLearnBesideAQuantizedModel() throws IOException {
        Path packed = dir.resolve("packed");
        Path adapter = dir.resolve("adapter");
        done(Cli.run("quantize", Cli.TALE_LLAMA, "-o", packed, "--method", "rtn", "--bits", 2));
        Object[] args = {
            "distill",
            packed,
            "-o",
            adapter,
            "--teacher",
            Cli.TALE_LLAMA,
            "--data",
            DATA,
            "--lora",
            8,
            "--adapter",
            "--steps",
            3,
            "--batch",
            2,
            "--length",
            64
        };
        assertThat(done(Cli.run(args)).out()).contains("held out loss");
        assertThat(adapter.resolve("adapter_model.safetensors")).exists();
        assertThat(Files.readString(adapter.resolve("adapter_config.json")))
                .contains("\"" + packed + "\"");
        Cli eval = Cli.run("eval", adapter, "--data", DATA);
        assertThat(eval.exit()).isEqualTo(1);
        assertThat(eval.err()).contains("holds an adapter");
    }

    @Test
    void anAdapterIsTheOnlyStep() throws IOException {
        Path recipe = dir.resolve("recipe.yaml");
        Files.writeString(
                recipe,
                """
                model: %s
                output: %s
                steps:
                  - sweep:
                      - magnitude: {sparsity: 0.5}
                  - distill: {teacher: %s, data: %s, lora: 2, adapter: true}
                """
                        .formatted(Cli.TALE_LLAMA, dir.resolve("out"), Cli.TALE_LLAMA, DATA));
        Cli cli = Cli.run("run", recipe);
        assertThat(cli.exit()).isEqualTo(1);
        assertThat(cli.err()).contains("an adapter goes with the recipe's own model");
    }

    @Test
    void badInputIsOneSentence() throws IOException {
        Path out = dir.resolve("out");
        Cli none = Cli.run("distill", Cli.TALE_LLAMA, "-o", out, "--data", DATA);
        assertThat(none.exit()).isEqualTo(ExitCode.USAGE);
        assertThat(none.err()).contains("--teacher");
        Cli other =
                Cli.run(
                        "distill",
                        Cli.TALE_LLAMA,
                        "-o",
                        out,
                        "--teacher",
                        dir.resolve("nowhere"),
                        "--data",
                        DATA);
        assertThat(other.exit()).isEqualTo(1);
        assertThat(other.err()).contains("no such directory");
        Path packed = dir.resolve("packed");
        done(
                Cli.run(
                        "quantize",
                        Cli.TALE_LLAMA,
                        "-o",
                        packed,
                        "--method",
                        "rtn",
                        "--bits",
                        4,
                        "--group-size",
                        64));
        Cli quantized =
                Cli.run("distill", packed, "-o", out, "--teacher", Cli.TALE_LLAMA, "--data", DATA);
        assertThat(quantized.exit()).isEqualTo(1);
        assertThat(quantized.err()).contains("packed weights do not learn");
        assertThat(out).doesNotExist();
        assertThat(dir.resolve("out.llmc-partial")).doesNotExist();
    }
}
