// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Every command on a llama whose `model_type` llmc does not know.
class TreatAsIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Path TEXT = Cli.TALE_LLAMA.resolve("test.txt");
    private static final Path CALIBRATION = Cli.TALE_LLAMA.resolve("calibration.txt");

    @TempDir Path dir;
    private Path model;

    @BeforeEach
    void rename() throws IOException {
        model = Files.createDirectory(dir.resolve("model"));
        try (Stream<Path> files = Files.list(Cli.TALE_LLAMA)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Files.copy(file, model.resolve(file.getFileName()));
            }
        }
        Path config = model.resolve("config.json");
        ObjectNode values = (ObjectNode) JSON.readTree(config.toFile());
        JSON.writeValue(config.toFile(), values.put("model_type", "unheard_of"));
    }

    private static String done(Object... args) {
        Cli cli = Cli.run(args);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli.err();
    }

    private JsonNode json(String file) throws IOException {
        return JSON.readTree(dir.resolve(file).toFile());
    }

    @Test
    void withoutTheFlagItIsRefused() {
        Cli cli = Cli.run("eval", model, "--data", TEXT);
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err())
                .contains("\"unheard_of\" is not known to llmc")
                .contains("--treat-as names the one that this is");
    }

    @Test
    void itMeasuresAsTheLlamaThatItIs() throws IOException {
        Path own = dir.resolve("own.json");
        Path other = dir.resolve("other.json");
        List<Object> what = List.of("--data", TEXT, "--max-windows", 2, "--json");
        done(
                Stream.of(List.of("eval", Cli.TALE_LLAMA), what, List.of(own))
                        .flatMap(List::stream)
                        .toArray());
        String err =
                done(
                        Stream.of(
                                        List.of("eval", model, "--treat-as", "llama"),
                                        what,
                                        List.of(other))
                                .flatMap(List::stream)
                                .toArray());
        assertThat(err).contains("unheard_of is not known to llmc, and is read as llama");
        assertThat(json("other.json").findValue("perplexity"))
                .isEqualTo(json("own.json").findValue("perplexity"));
    }

    /// A recipe of two steps: what the first leaves is of the unknown type, too.
    @Test
    void whatIsMadeOfItKeepsItsType() throws IOException {
        Path recipe = dir.resolve("recipe.yaml");
        Path out = dir.resolve("out");
        Files.writeString(
                recipe,
                """
                model: %s
                treatAs: llama
                output: %s
                calibration: {data: %s, samples: 2, length: 32}
                steps:
                  - sweep: [{wanda: {sparsity: 0.5}}]
                  - sweep: [{rtn: {bits: 8}}]
                  - evaluate: {data: %s, maxWindows: 1, against: %s}
                """
                        .formatted(model, out, CALIBRATION, TEXT, Cli.TALE_LLAMA));
        done("run", recipe);
        assertThat(json("out/config.json").path("model_type").asText()).isEqualTo("unheard_of");
        assertThat(json("out/llmc.json").path("recipe").path("treatAs").asText())
                .isEqualTo("llama");
        Cli inspected = Cli.run("inspect", out, "--treat-as", "llama");
        assertThat(inspected.exit()).as(inspected.err()).isEqualTo(ExitCode.OK);
        assertThat(inspected.out()).contains("unheard_of", "is read as llama");
    }

    @Test
    void itLearnsAndWritesAndIsPlanned() {
        Path out = dir.resolve("healed");
        done(
                "distill",
                model,
                "-o",
                out,
                "--treat-as",
                "llama",
                "--teacher",
                model,
                "--data",
                CALIBRATION,
                "--steps",
                1,
                "--batch",
                1,
                "--length",
                16);
        done("generate", out, "--treat-as", "llama", "--prompt", "Once", "--max-tokens", 2);
        done("plan", out.resolve("config.json"), "--treat-as", "llama", "--device", "h100");
    }

    @Test
    void aKnownTypeStaysWhatItIs() {
        Cli cli = Cli.run("eval", Cli.TALE_LLAMA, "--treat-as", "qwen3", "--data", TEXT);
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).contains("is a llama, which llmc knows, and no qwen3");
    }
}
