// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Weights that are no numbers are found before any work, wherever they are; matrices of zeros are
/// good weights.
class DamagedWeightsIT {
    @TempDir private Path dir;

    private BrokenModel broken() throws IOException {
        return BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model"));
    }

    /// The first of the bundled text, so that nothing takes long.
    private Path text() throws IOException {
        String all = Files.readString(Cli.TALE_LLAMA.resolve("calibration.txt"));
        return Files.writeString(dir.resolve("text.txt"), all.substring(0, 8000));
    }

    private Path out() {
        return dir.resolve("out");
    }

    private void refused(Cli cli, String tensor) throws IOException {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).contains("tensor " + tensor, "NaN").hasLineCount(1);
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files)
                    .containsExactlyInAnyOrder(dir.resolve("model"), dir.resolve("text.txt"));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model.embed_tokens.weight",
                "model.norm.weight",
                "model.layers.2.input_layernorm.weight",
                "model.layers.2.mlp.down_proj.weight"
            })
    void foundBeforeTheFirstBlock(String tensor) throws IOException {
        Path model = broken().bf16(tensor, Float.NaN).directory();
        Path text = text();
        refused(
                Cli.run(
                        "quantize",
                        model,
                        "-o",
                        out(),
                        "-q",
                        "--method",
                        "rtn",
                        "--group-size",
                        "64"),
                tensor);
        refused(
                Cli.run(
                        "prune",
                        model,
                        "-o",
                        out(),
                        "-q",
                        "--method",
                        "layers",
                        "--drop",
                        "1",
                        "--calib-data",
                        text,
                        "--calib-samples",
                        "2",
                        "--calib-length",
                        "64"),
                tensor);
        refused(
                Cli.run(
                        "distill",
                        Cli.TALE_LLAMA,
                        "-o",
                        out(),
                        "-q",
                        "--teacher",
                        model,
                        "--data",
                        text,
                        "--steps",
                        "1"),
                tensor);
        refused(
                Cli.run(
                        "distill",
                        model,
                        "-o",
                        out(),
                        "-q",
                        "--teacher",
                        Cli.TALE_LLAMA,
                        "--data",
                        text,
                        "--steps",
                        "1"),
                tensor);
    }

    @ParameterizedTest
    @ValueSource(strings = {"quantize --method rtn", "quantize", "prune", "prune --method wanda"})
    void aMatrixOfZerosLosesNothing(String command) throws IOException {
        String zero = "model.layers.1.self_attn.q_proj";
        Path model = broken().map(zero + ".weight", _ -> 0).directory();
        Path json = dir.resolve("result.json");
        Stream<Object> args =
                Stream.concat(
                        Stream.of((Object[]) command.split(" ", -1)),
                        Stream.of(model, "-o", out(), "-q", "--json", json));
        Stream<Object> grid =
                command.startsWith("quantize") ? Stream.of("--group-size", 64) : Stream.empty();
        Stream<Object> calibration =
                command.contains("rtn")
                        ? Stream.empty()
                        : Stream.of(
                                "--calib-data",
                                text(),
                                "--calib-samples",
                                "4",
                                "--calib-length",
                                "64");
        Cli cli = Cli.run(Stream.of(args, grid, calibration).flatMap(s -> s).toArray());
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        for (Path file : new Path[] {json, out().resolve("llmc.json")}) {
            assertThat(file).content().doesNotContain("NaN", "Infinity");
            for (JsonNode m : new ObjectMapper().readTree(file.toFile()).path("modules")) {
                if (m.path("module").asText().equals(zero)) {
                    JsonNode error =
                            m.has("relative_error")
                                    ? m.get("relative_error")
                                    : m.get("relative_weight_error");
                    assertThat(error.isNumber()).isTrue();
                    assertThat(error.asDouble()).isZero();
                }
            }
        }
    }

    @Test
    void whatAnswersNothingIsHealedWithoutDividingByIt() throws IOException {
        Path teacher = broken().map("model.embed_tokens.weight", _ -> 0).directory();
        Path json = dir.resolve("result.json");
        Cli cli =
                Cli.run(
                        "distill",
                        Cli.TALE_LLAMA,
                        "-o",
                        out(),
                        "-q",
                        "--teacher",
                        teacher,
                        "--data",
                        text(),
                        "--blockwise",
                        "--holdout",
                        "1",
                        "--steps",
                        "1",
                        "--batch",
                        "1",
                        "--length",
                        "32",
                        "--json",
                        json);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        assertThat(json).content().doesNotContain("NaN", "Infinity");
    }
}
