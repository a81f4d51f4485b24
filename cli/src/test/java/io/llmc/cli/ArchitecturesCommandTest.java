// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.model.arch.Architectures;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The list of what llmc reads, and the same in the README.
class ArchitecturesCommandTest {
    private static final Path README = Path.of("README.md");
    private static final String ROW = "| architectures (`model_type`) | ";

    @TempDir Path dir;

    @Test
    void everyTypeIsListedOnce() {
        Cli run = Cli.run("architectures");
        assertThat(run.exit()).as(run.err()).isZero();
        assertThat(run.out().lines().skip(1).map(line -> line.split(" ", -1)[0]))
                .containsExactlyElementsOf(Architectures.modelTypes());
    }

    /// Refusals are those of the methods themselves.
    @Test
    void whatStopsAMethodIsSaid() {
        String all = Cli.run("architectures", "-v").out();
        assertThat(all)
                .containsPattern(
                        "\nllama +yes +yes +yes +yes +yes +yes +- +yes +yes +yes +yes +yes\n")
                .contains("\nllama, experts: a llama has no experts\n")
                .contains(
                        "\nqwen3_next, distill: the gated delta rule of model.layers.0 has no grad")
                .contains("\ndeepseek_v3, kv-heads: no KV heads can be taken out of a deepseek_v3")
                .contains("\ngemma2, slice: a gemma2 cannot be sliced: its norms after");
    }

    @Test
    void theSameAsJson() throws IOException {
        Path file = dir.resolve("architectures.json");
        assertThat(Cli.run("architectures", "--json", file).exit()).isZero();
        JsonNode json = new ObjectMapper().readTree(file.toFile());
        assertThat(json.path("architectures").size()).isEqualTo(Architectures.modelTypes().size());
        JsonNode llama =
                json.path("architectures")
                        .valueStream()
                        .filter(a -> a.path("model_type").asText().equals("llama"))
                        .findFirst()
                        .orElseThrow();
        assertThat(llama.path("kv_heads").asBoolean()).isTrue();
        assertThat(llama.path("experts").asBoolean()).isFalse();
        assertThat(llama.path("reasons").path("experts").asText()).contains("no experts");
    }

    /// With `-Dllmc.renew=true` the row is written anew.
    @Test
    void theReadmeHasThem() throws IOException {
        String row =
                Architectures.modelTypes().stream()
                        .map("`%s`"::formatted)
                        .collect(Collectors.joining(", ", ROW, " |"));
        String text = Files.readString(README);
        if (Boolean.getBoolean("llmc.renew")) {
            Files.writeString(
                    README,
                    text.lines()
                            .map(line -> line.startsWith(ROW) ? row : line)
                            .collect(Collectors.joining("\n", "", "\n")));
            return;
        }
        assertThat(text.lines().filter(line -> line.startsWith(ROW))).containsExactly(row);
    }
}
