// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.checkpoint.Checkpoint;
import java.io.IOException;
import java.nio.file.Path;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Models whose config.json and tensors disagree: one line says what is used, and what is written
/// tells the truth.
class DisagreementIT {
    @TempDir private Path dir;

    private Path model(Consumer<ObjectNode> change) throws IOException {
        return BrokenModel.copyOf(Cli.TINY_LLAMA, dir.resolve("model")).config(change).directory();
    }

    private Path out() {
        return dir.resolve("out");
    }

    private Cli quantize(Path model) {
        return Cli.run("quantize", model, "-o", out(), "--method", "rtn", "--group-size", "32");
    }

    private JsonNode config() throws IOException {
        return new ObjectMapper().readTree(out().resolve("config.json").toFile());
    }

    private static void saysOnce(Cli cli, String words) {
        assertThat(cli.exit()).as(cli.err()).isZero();
        assertThat(Pattern.compile(Pattern.quote(words)).matcher(cli.err()).results())
                .as(cli.err())
                .hasSize(1);
    }

    @Test
    void aHeadBesideATiedEmbedding() throws IOException {
        Path model = model(c -> c.put("tie_word_embeddings", true));
        saysOnce(quantize(model), "lm_head is used");
        assertThat(config().path("tie_word_embeddings").booleanValue()).isFalse();
        assertThat(config().path("quantization_config").path("ignore").toString())
                .contains("lm_head");
        Cli inspected = Cli.run("inspect", model);
        assertThat(inspected.out()).contains("lm_head is used").doesNotContain("tied to");
        Cli written = Cli.run("inspect", out());
        assertThat(written.out()).doesNotContain("notes", "tied to");
    }

    @Test
    void moreLayersThanTheConfigSays() throws IOException {
        saysOnce(quantize(model(c -> c.put("num_hidden_layers", 1))), "tensors of layer 1");
        try (Checkpoint written = Checkpoint.open(out())) {
            assertThat(written.names()).noneMatch(n -> n.startsWith("model.layers.1."));
            assertThat(written.config().integer("num_hidden_layers")).isEqualTo(1);
        }
        assertThat(Cli.run("inspect", out()).out()).doesNotContain("notes");
    }

    @Test
    void aPlanSaysItToo() throws IOException {
        saysOnce(
                Cli.run(
                        "quantize",
                        model(c -> c.put("num_hidden_layers", 1)),
                        "-o",
                        out(),
                        "--method",
                        "rtn",
                        "--group-size",
                        "32",
                        "--dry-run"),
                "tensors of layer 1");
    }

    /// By every command that reads a model, whatever it wants with it.
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "num_hidden_layers | 1000000",
                "num_hidden_layers | 3",
                "num_hidden_layers | -1",
                "hidden_size | 0",
                "num_attention_heads | 1e9",
                "num_key_value_heads | 0",
                "num_key_value_heads | 3",
                "head_dim | 9223372036854775808",
                "intermediate_size | 128",
                "vocab_size | 255",
                "rms_norm_eps | null",
                "rms_norm_eps | 0",
                "rope_theta | \"10k\"",
                "max_position_embeddings | 0",
                "attention_bias | true"
            })
    void refusedWithTheKey(String key, String value) throws IOException {
        JsonNode node = new ObjectMapper().readTree(value);
        Path model = model(c -> c.set(key, node));
        Path data = Cli.TALE_LLAMA.resolve("test.txt");
        for (Cli cli :
                new Cli[] {
                    Cli.run("inspect", model),
                    Cli.run("eval", model, "--data", data, "-q"),
                    Cli.run("quantize", model, "-o", out(), "--method", "rtn", "-q"),
                    Cli.run("prune", model, "-o", out(), "--method", "magnitude", "-q"),
                    Cli.run(
                            "distill",
                            model,
                            "-o",
                            out(),
                            "--teacher",
                            Cli.TINY_LLAMA,
                            "--data",
                            data,
                            "-q")
                }) {
            assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.FAILED);
            assertThat(cli.err()).startsWith("llmc: ").contains(key);
            assertThat(cli.err().lines()).as(cli.err()).hasSize(1);
        }
        assertThat(out()).doesNotExist();
    }
}
