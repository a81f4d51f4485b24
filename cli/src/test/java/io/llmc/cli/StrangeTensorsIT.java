// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Tensors of types that no weight has, and packed weights that make no sense: every command that
/// works on them says so first.
class StrangeTensorsIT {
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir private Path dir;

    private Path text;

    @BeforeEach
    void text() throws IOException {
        String all = Files.readString(Cli.TALE_LLAMA.resolve("calibration.txt"));
        text = Files.writeString(dir.resolve("text.txt"), all.substring(0, 4000));
    }

    private BrokenModel model() throws IOException {
        return BrokenModel.copyOf(Cli.TALE_LLAMA, dir.resolve("model"));
    }

    private void refusedEverywhere(Path model, String... words) throws IOException {
        Path out = dir.resolve("out");
        Cli[] runs = {
            Cli.run("eval", model, "--data", text, "-q"),
            Cli.run("quantize", model, "-o", out, "-q", "--method", "rtn", "--layout", "dense"),
            Cli.run(
                    "prune",
                    model,
                    "-o",
                    out,
                    "-q",
                    "--method",
                    "layers",
                    "--drop",
                    "1",
                    "--calib-data",
                    text),
            Cli.run("distill", Cli.TALE_LLAMA, "-o", out, "-q", "--teacher", model, "--data", text)
        };
        for (Cli run : runs) {
            assertThat(run.exit()).as(run.err()).isEqualTo(ExitCode.FAILED);
            assertThat(run.err()).contains(words).hasLineCount(1);
        }
        try (Stream<Path> files = Files.list(dir)) {
            assertThat(files).containsExactlyInAnyOrder(model, text);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "model.norm.weight, I32, 4",
        "model.layers.1.input_layernorm.weight, F8_E4M3, 1",
        "model.embed_tokens.weight, BOOL, 1",
        "model.layers.0.mlp.up_proj.weight, U8, 1",
        "model.layers.2.self_attn.q_proj.weight, I64, 8"
    })
    void typesThatNoWeightHas(String tensor, String dtype, int bytes) throws IOException {
        Path model = model().retyped(tensor, dtype, bytes, (_, _) -> {}).directory();
        refusedEverywhere(model, "model.safetensors", tensor, dtype);
    }

    @ParameterizedTest
    @CsvSource({"compressed-tensors, weight_scale", "gptq, scales"})
    void scalesThatAreNoNumbers(String layout, String scales) throws IOException {
        Path model = dir.resolve("model");
        Cli packed =
                Cli.run(
                        "quantize",
                        Cli.TALE_LLAMA,
                        "-o",
                        model,
                        "-q",
                        "--method",
                        "rtn",
                        "--group-size",
                        64,
                        "--layout",
                        layout);
        assertThat(packed.exit()).as(packed.err()).isZero();
        String tensor = "model.layers.2.mlp.down_proj." + scales;
        // A NaN in F16, too.
        new BrokenModel(model).bf16(tensor, Float.NaN);
        refusedEverywhere(model, "model.safetensors", tensor, "NaN");
    }

    @Test
    void aNormOfDoublesIsRead() throws IOException {
        Path model =
                model().retyped("model.norm.weight", "F64", 8, ByteBuffer::putDouble).directory();
        Cli cli = eval(model, "doubles.json");
        assertThat(cli.exit()).as(cli.err()).isZero();
        assertThat(cli.err()).contains("'model.norm.weight' is F64");
        eval(Cli.TALE_LLAMA, "plain.json");
        assertThat(figure("doubles.json")).isEqualTo(figure("plain.json"));
    }

    private Cli eval(Path model, String json) {
        return Cli.run("eval", model, "--data", text, "--json", dir.resolve(json));
    }

    private double figure(String json) throws IOException {
        JsonNode value = JSON.readTree(dir.resolve(json).toFile()).findValue("perplexity");
        assertThat(value.isNumber()).isTrue();
        return value.doubleValue();
    }
}
