// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class QuantizeIT {
    @TempDir private Path dir;

    private Path out() {
        return dir.resolve("out");
    }

    private Cli rtn(Object... flags) {
        List<Object> args =
                new ArrayList<>(
                        List.of(
                                "quantize",
                                Cli.TINY_LLAMA,
                                "-o",
                                out(),
                                "--method",
                                "rtn",
                                "--group-size",
                                "32"));
        args.addAll(List.of(flags));
        return Cli.run(args.toArray());
    }

    private static void done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
    }

    @Test
    void aDryRunShowsLayersSizesAndMemoryAndWritesNothing() throws IOException {
        Cli cli = rtn("--dry-run");
        done(cli);
        assertThat(cli.out())
                .contains(
                        "q_proj", "64 x 64", "4 bits, groups of 32, symmetric", "KiB ->", "memory");
        assertThat(cli.err()).isEmpty();
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).isEmpty();
        }
        assertThat(rtn("--dry-run", "-v").out()).contains("model.layers.1.mlp.down_proj");
    }

    @Test
    void aPrintedRecipeRunsTheSame() throws IOException {
        Cli printed =
                rtn(
                        "--print-recipe",
                        "--ignore",
                        "down_proj",
                        "--set",
                        "clip=mse",
                        "--layout",
                        "gptq");
        done(printed);
        Path recipe = Files.writeString(dir.resolve("recipe.yaml"), printed.out());
        assertThat(Cli.run("run", recipe, "--print-recipe").out()).isEqualTo(printed.out());
        done(rtn("--ignore", "down_proj", "--set", "clip=mse", "--layout", "gptq"));
        Path other = dir.resolve("other");
        done(Cli.run("run", recipe, "--set", "output=" + other));
        for (String file : List.of("model.safetensors", "config.json", "llmc.json")) {
            assertThat(other.resolve(file)).hasSameBinaryContentAs(out().resolve(file));
        }
    }

    @Test
    void theResultIsShownAndWrittenAsJson() throws IOException {
        Path json = dir.resolve("result.json");
        Cli cli = rtn("--json", json);
        done(cli);
        assertThat(cli.out()).contains("q_proj", "verified", "bits a weight", "model.safetensors");
        assertThat(cli.err()).contains("compressing ...", "verifying done in");
        JsonNode result = new ObjectMapper().readTree(json.toFile());
        assertThat(result.path("modules").size()).isEqualTo(14);
        assertThat(result.path("bits_per_weight").asDouble()).isBetween(4.5, 4.6);
        assertThat(result.path("output_bytes").asLong())
                .isLessThan(result.path("input_bytes").asLong());
        JsonNode onStdout = new ObjectMapper().readTree(rtn("--json", "-", "--force", "-q").out());
        assertThat(onStdout.path("verified_tensors").asInt())
                .isEqualTo(result.path("verified_tensors").asInt());
    }

    @Test
    void quietIsQuietAndForceReplaces() {
        done(rtn("-q"));
        Cli again = rtn("-q", "--force");
        done(again);
        assertThat(again.err()).isEmpty();
        Cli inspected = Cli.run("inspect", out(), "-v");
        done(inspected);
        assertThat(inspected.out())
                .contains(
                        "compressed-tensors, 4 bits, groups of 32, symmetric",
                        "weight_packed",
                        "LlamaForCausalLM");
    }

    @Test
    void aModelThatIsQuantizedIsNotQuantizedAgain() {
        done(rtn("-q"));
        Cli again =
                Cli.run(
                        "quantize",
                        out(),
                        "-o",
                        dir.resolve("twice"),
                        "--method",
                        "rtn",
                        "--group-size",
                        "32");
        assertThat(again.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(again.err()).contains("already quantized");
    }

    @Test
    void severalSweepsPassThroughDirectoriesThatGo() throws IOException {
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: %s
                        output: %s
                        steps:
                          - sweep:
                              - rtn: {bits: 8, groupSize: channel, targets: [down_proj]}
                          - sweep:
                              - rtn: {bits: 4, groupSize: 32, ignore: [down_proj]}
                        """
                                .formatted(Cli.TINY_LLAMA, out()));
        Cli packed = Cli.run("run", recipe);
        assertThat(packed.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(packed.err()).contains("put the methods into one sweep");
        done(Cli.run("run", recipe, "--set", "save.layout=dense", "-q"));
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).containsExactlyInAnyOrder(recipe, out());
        }
    }

    @Test
    void aRecipeOfSeveralStepsLeavesOnlyItsOutput() throws IOException {
        Path recipe =
                Files.writeString(
                        dir.resolve("recipe.yaml"),
                        """
                        model: %s
                        output: %s
                        steps:
                          - sweep:
                              - rtn: {bits: 8, groupSize: channel, targets: [down_proj]}
                          - evaluate: {data: %s, window: 128, maxWindows: 2}
                        """
                                .formatted(
                                        Cli.TALE_LLAMA, out(), Cli.TALE_LLAMA.resolve("test.txt")));
        Cli cli = Cli.run("run", recipe);
        done(cli);
        assertThat(cli.out()).contains("down_proj", "perplexity (gptq)");
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).containsExactlyInAnyOrder(recipe, out());
        }
    }

    @Test
    void evalPrintsItsConvention() throws IOException {
        Path json = dir.resolve("eval.json");
        for (String convention : List.of("gptq", "llama.cpp", "sliding")) {
            Cli cli =
                    Cli.run(
                            "eval",
                            Cli.TALE_LLAMA,
                            "--against",
                            Cli.TALE_LLAMA,
                            "--data",
                            Cli.TALE_LLAMA.resolve("test.txt"),
                            "--window",
                            "128",
                            "--max-windows",
                            "2",
                            "--convention",
                            convention,
                            "--json",
                            json);
            done(cli);
            assertThat(cli.out())
                    .contains(
                            "perplexity (" + convention + ")",
                            "perplexity ratio (" + convention + ")");
            JsonNode result = new ObjectMapper().readTree(json.toFile());
            assertThat(result.path("perplexity_convention").asText()).isEqualTo(convention);
            assertThat(result.path("perplexity_ratio").asDouble()).isEqualTo(1);
            assertThat(result.path("top1_agreement").asDouble()).isEqualTo(1);
        }
    }

    @Test
    void devicesAlwaysHasTheCpu() {
        Cli cli = Cli.run("devices", "--ops");
        done(cli);
        assertThat(cli.out()).contains("cpu", "usable", "Matmul");
    }
}
