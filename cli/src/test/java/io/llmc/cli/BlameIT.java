// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What a part costs is what `eval` says of a model in which only this part is compressed.
class BlameIT {
    private static final Path TALE = Cli.TALE_LLAMA;

    @TempDir private static Path shared;
    private static Path all;

    @TempDir private Path dir;

    @BeforeAll
    static void compress() {
        all = rounded("all");
    }

    /// Rounding to nearest: a layer becomes the same whatever else is compressed.
    private static Path rounded(String name, Object... more) {
        Path out = shared.resolve(name);
        List<Object> words =
                new ArrayList<>(List.of("quantize", TALE, "-o", out, "--method", "rtn"));
        words.addAll(List.of("--bits", "3", "--group-size", "64"));
        words.addAll(List.of(more));
        done(words);
        return out;
    }

    private static Cli done(List<Object> words) {
        List<Object> all = new ArrayList<>(words);
        all.addAll(List.of("--device", "cpu", "--math", "portable"));
        Cli cli = Cli.run(all.toArray());
        assertThat(cli.exit()).as(cli.err()).isZero();
        return cli;
    }

    private JsonNode eval(Path model, Object... more) throws IOException {
        Path json = dir.resolve("eval.json");
        List<Object> words = new ArrayList<>(List.of("eval", model, "--against", TALE, "--data"));
        words.addAll(List.of(TALE.resolve("test.txt"), "--window", 64, "--max-windows", 3));
        words.addAll(List.of("--json", json));
        words.addAll(List.of(more));
        done(words);
        JsonNode result = new ObjectMapper().readTree(Files.readString(json));
        Path schema = Cli.TESTDATA.resolveSibling("docs/eval.schema.json");
        assertThat(JsonSchema.faults(new ObjectMapper().readTree(schema.toFile()), result))
                .isEmpty();
        return result;
    }

    private static Map<String, Double> costs(JsonNode result) {
        Map<String, Double> costs = new TreeMap<>();
        result.path("blame")
                .forEach(c -> costs.put(c.path("name").asText(), c.path("kld").asDouble()));
        return costs;
    }

    @Test
    void aBlockCostsWhatItCostsWhereOnlyItIsCompressed() throws IOException {
        JsonNode result = eval(all, "--blame");
        Map<String, Double> costs = costs(result);
        assertThat(costs).hasSize(3);
        assertThat(result.path("blame_kld").asDouble())
                .isEqualTo(result.path("kld_mean").asDouble());
        Path one = rounded("block-1", "--targets", "model.layers.1.*");
        JsonNode only = eval(one, "--blame");
        assertThat(only.path("kld_mean").asDouble())
                .isPositive()
                .isEqualTo(costs.get("model.layers.1"));
        assertThat(costs(only))
                .containsEntry("model.layers.0", 0.0)
                .containsEntry("model.layers.1", costs.get("model.layers.1"))
                .containsEntry("model.layers.2", 0.0);
        assertThat(only.path("blame").path(0).path("share").asDouble()).isEqualTo(1);
        // It costs no more for a byte than what it is compared with: itself.
        assertThat(only.path("blame_ignore").isEmpty()).isTrue();
    }

    @Test
    void aLayerCostsWhatItCostsWhereOnlyItIsCompressed() throws IOException {
        JsonNode result = eval(all, "--blame", "layers");
        Map<String, Double> costs = costs(result);
        assertThat(costs).hasSize(3 * 7);
        String name = "model.layers.1.mlp.down_proj";
        Path one = rounded("layer", "--targets", name);
        assertThat(eval(one).path("kld_mean").asDouble()).isPositive().isEqualTo(costs.get(name));
        double sum = costs.values().stream().mapToDouble(x -> x).sum();
        assertThat(result.path("blame_kld_sum").asDouble()).isCloseTo(sum, within(1e-12));
        List<Double> shares = new ArrayList<>();
        result.path("blame").forEach(c -> shares.add(c.path("share").asDouble()));
        assertThat(shares).isSortedAccordingTo((a, b) -> Double.compare(b, a));
        assertThat(shares.stream().mapToDouble(x -> x).sum()).isCloseTo(1, within(1e-9));
    }

    /// The commands of docs/blame.md; the last takes what the one before it suggests.
    @Test
    void theExampleOfTheDocumentRuns() throws IOException {
        String text = Files.readString(Cli.TESTDATA.resolveSibling("docs/blame.md"));
        String script = text.substring(text.indexOf("```sh\n") + 6, text.indexOf("\n```\n"));
        List<String> commands = script.lines().toList();
        assertThat(commands).hasSize(3);
        String out = "";
        for (String command : commands) {
            if (command.contains(" --ignore ")) {
                assertThat(out).contains(command.substring(command.indexOf("--ignore ")));
            }
            List<Object> words = new ArrayList<>();
            for (String word : command.substring("bin/llmc ".length()).split(" ", -1)) {
                words.add(
                        word.equals("OUT") || word.equals("BETTER")
                                ? dir.resolve(word)
                                : word.replace("'", ""));
            }
            out = done(words).out();
        }
    }

    /// Before any work.
    @Test
    void scalesThatWereMovedLeaveNoLayerToItself() {
        for (String preset : List.of("awq", "w8a8")) {
            Path out = shared.resolve(preset);
            List<Object> words = new ArrayList<>(List.of("quantize", TALE, "-o", out));
            words.addAll(List.of("--preset", preset, "--calib-data", TALE.resolve("test.txt")));
            words.addAll(List.of("--calib-samples", "4", "--calib-length", "64"));
            if (preset.equals("awq")) {
                words.addAll(List.of("--group-size", "64"));
            }
            done(words);
            Object[] blame = {
                "eval", out, "--against", TALE, "--data", TALE.resolve("test.txt"), "--blame"
            };
            List<Object> layers = new ArrayList<>(List.of(blame));
            layers.addAll(List.of("layers", "--dry-run"));
            Cli refused = Cli.run(layers.toArray());
            assertThat(refused.exit()).isEqualTo(1);
            assertThat(refused.err())
                    .contains("input_layernorm was changed", "give --blame as blocks");
        }
    }

    @Test
    void thePageHasABarForEachPart() throws IOException {
        Path page = dir.resolve("page.html");
        eval(all, "--blame", "layers", "--report", page);
        String html = Files.readString(page);
        assertThat(html).contains("Which parts cost what", "--ignore &#39;model.layers.");
        assertThat(html.split(">1\\.mlp\\.down_proj<", -1)).hasSize(2);
    }

    @Test
    void aGateOnNoFigureIsRefusedBeforeTheWork() {
        Cli refused =
                Cli.run(
                        "eval",
                        all,
                        "--against",
                        TALE,
                        "--data",
                        TALE.resolve("test.txt"),
                        "--blame",
                        "--gate",
                        "blame_kdl<1");
        assertThat(refused.exit()).isEqualTo(2);
        assertThat(refused.err()).contains("did you mean blame_kld?");
        assertThat(refused.out()).isEmpty();
    }

    /// What is suggested is left alone, and the model is as much larger as was said.
    @Test
    void whatIsSuggestedIsWhatQuantizeTakes() throws IOException {
        JsonNode result = eval(all, "--blame", "layers");
        List<String> patterns = new ArrayList<>();
        result.path("blame_ignore").forEach(p -> patterns.add(p.asText()));
        assertThat(patterns).isNotEmpty();
        JsonNode better =
                eval(
                        rounded("better", "--ignore", String.join(",", patterns)),
                        "--blame",
                        "layers");
        Map<String, Double> costs = costs(better);
        costs.forEach((name, kld) -> assertThat(kld == 0).isEqualTo(patterns.contains(name)));
        assertThat(better.path("kld_mean").asDouble())
                .isLessThan(result.path("kld_mean").asDouble());
        long larger = better.path("bytes").asLong() - result.path("bytes").asLong();
        assertThat((double) larger)
                .isCloseTo(result.path("blame_ignore_bytes").asDouble(), within(0.02 * larger));
    }
}
