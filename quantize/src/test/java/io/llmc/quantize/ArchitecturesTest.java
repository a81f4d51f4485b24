// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.sweep.SweepResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// GPTQ on a tiny checkpoint of every kind of block: fused projections, transposed weights,
/// experts.
class ArchitecturesTest {
    private static final int VOCABULARY = 256;

    @TempDir Path temp;

    /// Those that groups of 16 divide.
    static Stream<Path> checkpoints() {
        return TestFiles.directories(TestFiles.testdata(), "tiny-")
                .filter(model -> {
                    try (Checkpoint c = Checkpoint.open(model)) {
                        return Architectures.specOf(c).hidden() % 16 == 0;
                    }
                });
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void gptqBeatsRoundingOnTheWholeAndReadsBack(Path source) throws IOException {
        Path model = withTokenizer(source);
        String layout = source.endsWith("tiny-gpt2") ? "gptq" : "compressed-tensors";
        SweepResult result = run(model, layout, Map.of("minExpertTokens", 1), 16);
        double error = sum(result.reports(), "relative_error");
        assertThat(error).isPositive().isLessThan(sum(result.reports(), "rtn_relative_error"));
        assertThat(result.verifiedTensors()).isPositive();
    }

    /// A scale of 1 is always tried, so a search never loses; the files are what was in memory.
    @ParameterizedTest
    @MethodSource("checkpoints")
    void scalesOfChannelsAreFoundAndFoldedInEveryArchitecture(Path source) throws IOException {
        Path model = withTokenizer(source);
        String layout = source.endsWith("tiny-gpt2") ? "gptq" : "compressed-tensors";
        List<Object> chain =
                List.of(
                        Map.of("smooth", Map.of("alpha", "search", "inner", true)),
                        Map.of("awq", Map.of()),
                        Map.of("rtn", Map.of("bits", 4, "groupSize", 16)));
        SweepResult result = run(model, layout, chain, 8);
        for (String method : List.of("smooth", "awq")) {
            List<Double> left =
                    result.reports().stream()
                            .filter(r -> method.equals(r.values().get("method")))
                            .map(r -> (Double) r.values().get("loss_left"))
                            .toList();
            assertThat(left).hasSizeGreaterThan(4).allMatch(l -> l <= 1);
            assertThat(left.stream().mapToDouble(l -> l).average().orElseThrow()).isLessThan(0.99);
        }
        assertThat(result.verifiedTensors()).isPositive();
    }

    @Test
    void scalesWithoutAMethodThatRoundsAreRefused() throws IOException {
        Path model = withTokenizer(TestFiles.testdata().resolve("tiny-llama"));
        List<Object> chain =
                List.of(
                        Map.of("rtn", Map.of("targets", List.of("*.mlp.*"), "groupSize", 16)),
                        Map.of("awq", Map.of("targets", List.of("*.self_attn.*"))));
        assertThatThrownBy(() -> run(model, "compressed-tensors", chain, 8))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("awq makes layers easier to round, but no method behind it");
    }

    @Test
    void theDenseLayoutKeepsEveryShapeOfGpt2() throws IOException {
        Path model = withTokenizer(TestFiles.testdata().resolve("tiny-gpt2"));
        SweepResult result = run(model, "dense", Map.of(), 8);
        try (Checkpoint before = Checkpoint.open(model);
                Checkpoint after = Checkpoint.open(result.output())) {
            assertThat(after.names()).containsExactlyInAnyOrderElementsOf(before.names());
            for (String name : before.names()) {
                assertThat(after.info(name)).isEqualTo(before.info(name));
            }
        }
    }

    @Test
    void compressedTensorsIsRefusedForConv1d() throws IOException {
        Path model = withTokenizer(TestFiles.testdata().resolve("tiny-gpt2"));
        assertThatThrownBy(() -> run(model, "compressed-tensors", Map.of(), 8))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("Conv1D");
    }

    @Test
    void expertsThatSawTooFewTokensAreNamedOrRefused() throws IOException {
        Path model = withTokenizer(TestFiles.testdata().resolve("tiny-mixtral"));
        SweepResult result =
                run(model, "compressed-tensors", Map.of("minExpertTokens", 100_000), 8);
        List<ModuleReport> experts =
                result.reports().stream().filter(r -> r.module().contains("experts")).toList();
        assertThat(experts).isNotEmpty();
        assertThat(experts)
                .allSatisfy(r -> {
                    assertThat(r.values()).containsEntry("method", "rtn");
                    assertThat(r.warnings().getFirst())
                            .contains("calibration tokens of at least 100000");
                });
        assertThatThrownBy(() ->
                        run(
                                model,
                                "dense",
                                Map.of("minExpertTokens", 100_000, "rareExperts", "fail"),
                                8))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("block_sparse_moe.experts.");
        // Rare experts must get a group index too where the layout has one for every layer.
        SweepResult grouped =
                run(model, "gptq", Map.of("minExpertTokens", 100_000, "actOrder", "group"), 8);
        assertThat(grouped.verifiedTensors()).isPositive();
    }

    @Test
    void expertsThatSeeTooFewTokensGetMoreOfTheText() throws IOException {
        Path model = withTokenizer(TestFiles.testdata().resolve("tiny-mixtral"));
        SweepResult few = run(model, "dense", Map.of("minExpertTokens", 16), 8);
        assertThat(windows(few)).isEqualTo(8);
        assertThat(notes).anyMatch(n -> n.matches("model.layers.0: 4 experts see .* tokens"));
        long fewest = tokens(few);
        notes.clear();
        SweepResult more = run(model, "dense", Map.of("minExpertTokens", (int) fewest + 9), 8);
        assertThat(windows(more)).isBetween(9, 16);
        assertThat(tokens(more)).isGreaterThan(fewest);
        assertThat(notes).anyMatch(n -> n.contains("windows more than asked for give"));
        SweepResult again = run(model, "dense", Map.of("minExpertTokens", (int) fewest + 9), 8);
        assertThat(again.output().resolve("model.safetensors"))
                .hasSameBinaryContentAs(more.output().resolve("model.safetensors"));
        assertThatThrownBy(() ->
                        run(
                                model,
                                "dense",
                                Map.of("minExpertTokens", 9000, "rareExperts", "fail"),
                                8))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("of 9,000 tokens in 16 windows of the calibration text");
    }

    private static long tokens(SweepResult result) {
        return result.reports().stream()
                .filter(r -> r.module().contains("experts"))
                .mapToLong(r -> (Long) r.values().get("tokens"))
                .min()
                .orElseThrow();
    }

    private static int windows(SweepResult result) throws IOException {
        return new ObjectMapper()
                .readTree(result.output().resolve("llmc.json").toFile())
                .at("/calibration/windows")
                .asInt();
    }

    @Test
    void idsOfAnotherModelsTokenizerAreRefused() throws IOException {
        Path model = withTokenizer(TestFiles.testdata().resolve("tiny-llama"));
        Files.writeString(model.resolve("tokenizer.json"), tokenizer(VOCABULARY + 100));
        Files.writeString(temp.resolve("text.txt"), text(VOCABULARY + 100));
        assertThatThrownBy(() -> run(model, "dense", Map.of(), 8))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("outside the model's vocabulary of 256");
    }

    private int runs;
    private final List<String> notes = new ArrayList<>();

    private record Notes(List<String> lines) implements Progress {
        @Override
        public void begin(String task, long total) {}

        @Override
        public void advance(long by, String detail) {}

        @Override
        public void end() {}

        @Override
        public void note(String line) {
            lines.add(line);
        }
    }

    private SweepResult run(Path model, String layout, Map<String, Object> more, int samples) {
        Map<String, Object> options = new LinkedHashMap<>(Map.of("bits", 4, "groupSize", 16));
        options.putAll(more);
        return run(model, layout, List.of(Map.of("gptq", options)), samples);
    }

    private SweepResult run(Path model, String layout, List<Object> chain, int samples) {
        Map<String, Object> tree = new LinkedHashMap<>();
        Path out = temp.resolve("out-" + layout + runs++);
        tree.put("model", model.toString());
        tree.put("output", out.toString());
        String data = temp.resolve("text.txt").toString();
        tree.put("calibration", Map.of("data", data, "samples", samples, "length", 32));
        tree.put("steps", List.of(Map.of("sweep", chain)));
        tree.put("save", Map.of("layout", layout));
        Recipe recipe = Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            return SweepTest.run(recipe, out, backend, Long.MAX_VALUE, new Notes(notes));
        }
    }

    private static double sum(List<ModuleReport> reports, String key) {
        return reports.stream()
                .filter(r -> r.values().containsKey(key))
                .mapToDouble(r -> (Double) r.values().get(key))
                .sum();
    }

    /// A copy of a checkpoint with a tokenizer of one word an id, and a text of such words.
    private Path withTokenizer(Path source) throws IOException {
        Path model = Files.createDirectory(temp.resolve("model"));
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(source.resolve(file), model.resolve(file));
        }
        Files.writeString(model.resolve("tokenizer.json"), tokenizer(VOCABULARY));
        Files.writeString(temp.resolve("text.txt"), text(VOCABULARY));
        return model;
    }

    private static String tokenizer(int words) {
        String vocabulary =
                IntStream.range(0, words)
                        .mapToObj(i -> "\"w%d\": %d".formatted(i, i))
                        .collect(Collectors.joining(", "));
        return """
        {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
         "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
         "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
        """
                .formatted(vocabulary);
    }

    private static String text(int words) {
        Random random = new Random(5);
        return IntStream.range(0, 4000)
                .mapToObj(i -> "w" + random.nextInt(words))
                .collect(Collectors.joining(" "));
    }
}
