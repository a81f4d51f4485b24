// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.node.BooleanNode;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.prune.CountingBackend;
import io.llmc.prune.EditedCheckpoint;
import io.llmc.prune.PlainForward;
import io.llmc.prune.TestModels;
import io.llmc.prune.TestSweep;
import io.llmc.prune.WordTokenizer;
import io.llmc.tokenizer.CalibrationData;
import io.llmc.tokenizer.CalibrationSpec;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

@Tag("long")
class LayersPassTest {
    private static final Path TALE = TestFiles.testdata().resolve("tale-llama");
    private static final int SAMPLES = 6;
    private static final int LENGTH = 64;

    @TempDir Path temp;

    private static Map<String, Object> tree(Path model, Map<String, Object> options) {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", model.toString());
        tree.put("output", "unused");
        if (!options.containsKey("layers")) {
            Path text = model.resolve(model.equals(TALE) ? "calibration.txt" : "text.txt");
            tree.put(
                    "calibration",
                    Map.of("data", text.toString(), "samples", SAMPLES, "length", LENGTH));
        }
        tree.put("steps", List.of(Map.of("sweep", List.of(Map.of("layers", options)))));
        return tree;
    }

    private static SweepResult run(
            Path model, Path out, Map<String, Object> options, Backend backend, Progress progress) {
        Map<String, Object> tree = tree(model, options);
        Recipe recipe = Recipe.read(Options.of(tree), TestSweep.STEPS, tree);
        return TestSweep.run(recipe, model, out, backend, Long.MAX_VALUE, progress);
    }

    private static SweepResult run(Path model, Path out, Map<String, Object> options) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            return run(model, out, options, backend, Progress.NONE);
        }
    }

    private SweepResult run(Map<String, Object> options) {
        return run(TALE, temp.resolve("out-" + options.hashCode()), options);
    }

    private static void assertSame(Path one, Path other) throws IOException {
        assertThat(TestSweep.files(one)).isEqualTo(TestSweep.files(other));
    }

    private static Windows calibration() {
        try (Checkpoint c = Checkpoint.open(TALE);
                Tokenizer tokenizer = Tokenizer.open(c)) {
            return CalibrationData.load(
                    new CalibrationSpec(
                            TALE.resolve("calibration.txt"),
                            SAMPLES,
                            LENGTH,
                            CalibrationSpec.Order.RANDOM,
                            0),
                    tokenizer);
        }
    }

    @SuppressWarnings("unchecked")
    private static <T> T value(SweepResult result, String key) {
        return (T) result.reports().getFirst().values().get(key);
    }

    private static int layers(Path directory) {
        try (Checkpoint c = Checkpoint.open(directory)) {
            return Architectures.specOf(c).layers().size();
        }
    }

    private static HfConfig config(Path directory) {
        return HfConfig.read(directory.resolve("config.json"));
    }

    // ---------------------------------------------------------------- what is left

    static Stream<Path> checkpoints() {
        Stream<Path> oracles =
                Stream.of("qwen2_sliding", "gemma3_text", "mistral", "gpt2")
                        .map(name -> TestFiles.shared("oracles/architectures").resolve(name))
                        .filter(Files::isDirectory);
        return Stream.concat(TestModels.tiny(), oracles);
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void whatIsLeftGivesTheLogitsOfTheOtherBlocks(Path model) {
        int layers = layers(model);
        int[] ids = IntStream.range(0, 40).map(i -> (i * 37 + 5) % 96).toArray();
        for (int dropped = 0; dropped < layers; dropped++) {
            Path out = temp.resolve("out-" + dropped);
            run(model, out, Map.of("layers", List.of(dropped)));
            int gone = dropped;
            List<Integer> others =
                    IntStream.range(0, layers).filter(i -> i != gone).boxed().toList();
            Windows windows = Windows.of(ids, 20);
            assertThat(layers(out)).isEqualTo(layers - 1);
            assertThat(PlainForward.of(out, null, windows).logits())
                    .isEqualTo(PlainForward.of(model, others, windows).logits());
        }
    }

    @Test
    void otherTensorsKeepTheirNamesAndTheirOrder() {
        Path out = temp.resolve("out");
        run(TALE, out, Map.of("layers", List.of(1)));
        try (Checkpoint before = Checkpoint.open(TALE);
                Checkpoint after = Checkpoint.open(out)) {
            List<String> expected =
                    before.names().stream()
                            .filter(name -> !name.startsWith("model.layers.1."))
                            .map(name -> name.replace("model.layers.2.", "model.layers.1."))
                            .toList();
            assertThat(after.names()).containsExactlyElementsOf(expected);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "0, full_attention, sliding_attention, false",
        "1, sliding_attention, sliding_attention, false",
        "2, sliding_attention, full_attention, true",
    })
    void layersOfGemma3SayWhichTheyAreWhereThePatternNoLongerDoes(
            int dropped, String first, String second, boolean pattern) {
        Path out = temp.resolve("out");
        run(
                TestFiles.testdata().resolve("tiny-gemma3_text"),
                out,
                Map.of("layers", List.of(dropped)));
        assertThat(config(out).texts("layer_types")).containsExactly(first, second);
        assertThat(config(out).has("sliding_window_pattern")).isEqualTo(pattern);
    }

    @Test
    void windowsOfQwen2BeginAtTheSameLayer() {
        Path model = TestFiles.shared("oracles/architectures/qwen2_sliding");
        assumeTrue(Files.isDirectory(model), "no ../shared/oracles: skipped");
        run(model, temp.resolve("a"), Map.of("layers", List.of(0)));
        assertThat(config(temp.resolve("a")).integer("max_window_layers")).isZero();
        assertThat(config(temp.resolve("a")).texts("layer_types"))
                .containsExactly("sliding_attention", "sliding_attention");
        run(model, temp.resolve("b"), Map.of("layers", List.of(2)));
        assertThat(config(temp.resolve("b")).integer("max_window_layers")).isEqualTo(1);
        assertThat(config(temp.resolve("b")).texts("layer_types"))
                .containsExactly("full_attention", "sliding_attention");
    }

    @Test
    void listsOfTheConfigFollowTheLayers() throws IOException {
        HfConfig config =
                edited(
                        "\"vocab_size\"",
                        """
                        "layer_types": ["a", "b", "c"], "no_rope_layers": [1, 2, 3],
                        "mlp_only_layers": [0, 2], "max_window_layers": 2, "eos_token_id": [0, 1, 2],
                        "other": [1, 2], "vocab_size"\
                        """);
        Files.createDirectories(temp.resolve("model"));
        config.write(temp.resolve("model/config.json"));
        for (String file : List.of("model.safetensors", "tokenizer.json")) {
            Files.copy(TALE.resolve(file), temp.resolve("model").resolve(file));
        }
        run(temp.resolve("model"), temp.resolve("out"), Map.of("layers", List.of(1)));
        HfConfig after = config(temp.resolve("out"));
        assertThat(after.texts("layer_types")).containsExactly("a", "c");
        assertThat(after.integers("no_rope_layers")).containsExactly(1, 3);
        assertThat(after.integers("mlp_only_layers")).containsExactly(0, 1);
        assertThat(after.integer("max_window_layers")).isEqualTo(1);
        assertThat(after.integers("eos_token_id")).containsExactly(0, 1, 2);
        assertThat(after.integers("other")).containsExactly(1, 2);
        assertThat(after.integer("num_hidden_layers")).isEqualTo(2);
    }

    private HfConfig edited(String old, String replacement) throws IOException {
        String text =
                Files.readString(TALE.resolve("config.json"))
                        .replaceFirst("\\s*\"eos_token_id\": 0,", "")
                        .replace(old, replacement);
        Path file = Files.writeString(temp.resolve("edited.json"), text);
        return HfConfig.read(file);
    }

    // ---------------------------------------------------------------- what is chosen

    @Test
    void blockInfluenceDropsWhatTurnsItsInputLeast() {
        SweepResult result = run(Map.of("drop", 1));
        PlainForward plain = PlainForward.of(TALE, null, calibration());
        List<Double> expected = new ArrayList<>();
        for (int block = 0; block < 3; block++) {
            int b = block;
            expected.add(
                    1
                            - IntStream.range(0, SAMPLES * LENGTH)
                                    .mapToDouble(t -> plain.cosine(b, b + 1, t))
                                    .average()
                                    .orElseThrow());
        }
        List<Double> scores = value(result, "scores");
        assertClose(scores, expected);
        assertThat(LayersPassTest.<List<Integer>>value(result, "dropped"))
                .containsExactly(smallest(expected));
        assertThat(LayersPassTest.<String>value(result, "score")).isEqualTo("block-influence");
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void angularDropsTheRunOfTheSmallestAngle(int drop) {
        SweepResult result = run(Map.of("drop", drop, "score", "angular"));
        PlainForward plain = PlainForward.of(TALE, null, calibration());
        List<Double> expected = new ArrayList<>();
        for (int block = 0; block + drop <= 3; block++) {
            int b = block;
            expected.add(
                    IntStream.range(0, SAMPLES)
                            .mapToDouble(s ->
                                    Math.acos(plain.cosine(b, b + drop, s * LENGTH + LENGTH - 1))
                                            / Math.PI)
                            .average()
                            .orElseThrow());
        }
        assertClose(value(result, "scores"), expected);
        int first = smallest(expected);
        assertThat(LayersPassTest.<List<Integer>>value(result, "dropped"))
                .isEqualTo(IntStream.range(first, first + drop).boxed().toList());
    }

    private static void assertClose(List<Double> scores, List<Double> expected) {
        assertThat(scores).hasSameSizeAs(expected);
        for (int i = 0; i < scores.size(); i++) {
            assertThat(scores.get(i)).isCloseTo(expected.get(i), within(1e-5));
        }
    }

    private static int smallest(List<Double> values) {
        int best = 0;
        for (int i = 1; i < values.size(); i++) {
            best = values.get(i) < values.get(best) ? i : best;
        }
        return best;
    }

    @Test
    void greedyDropsInEveryRoundWhatBruteForceWould() {
        SweepResult result = run(Map.of("drop", 2, "score", "greedy"));
        List<List<Double>> scores = value(result, "scores");
        List<Double> after = value(result, "nll_after");
        List<Integer> order = value(result, "dropped");
        double before = value(result, "nll_before");
        assertThat(before)
                .isCloseTo(PlainForward.of(TALE, null, calibration()).loss(), within(1e-4));
        List<Integer> gone = new ArrayList<>();
        for (int round = 0; round < 2; round++) {
            List<Double> losses = new ArrayList<>();
            for (int block = 0; block < 3; block++) {
                losses.add(gone.contains(block) ? Double.MAX_VALUE : lossWithout(gone, block));
                if (!gone.contains(block)) {
                    assertThat(scores.get(round).get(block))
                            .isCloseTo(losses.get(block), within(1e-4));
                }
            }
            assertThat(order.get(round)).isEqualTo(smallest(losses));
            assertThat(after.get(round)).isCloseTo(losses.get(order.get(round)), within(1e-4));
            gone.add(order.get(round));
        }
        assertThat(after.getFirst()).isLessThan(after.getLast());
        assertThat(before).isLessThan(after.getFirst());
        assertThat(scores.getLast().get(order.getFirst())).isNull();
    }

    private double lossWithout(List<Integer> gone, int block) {
        List<Integer> listed = new ArrayList<>(gone);
        listed.add(block);
        Path out = temp.resolve("brute-" + listed);
        run(TALE, out, Map.of("layers", listed));
        return PlainForward.of(out, null, calibration()).loss();
    }

    // ---------------------------------------------------------------- how it gets there

    static Stream<Map<String, Object>> searches() {
        return Stream.of(
                Map.of("drop", 2, "score", "block-influence"),
                Map.of("drop", 2, "score", "angular"),
                Map.of("drop", 2, "score", "greedy"));
    }

    @ParameterizedTest
    @MethodSource("searches")
    void threadsDoNotChangeABit(Map<String, Object> options) throws IOException {
        for (int threads : new int[] {1, 3}) {
            try (Backend backend =
                    new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
                run(TALE, temp.resolve("out-" + threads), options, backend, Progress.NONE);
            }
        }
        assertSame(temp.resolve("out-1"), temp.resolve("out-3"));
    }

    @ParameterizedTest
    @MethodSource("searches")
    void aMemoryCapDoesNotChangeABit(Map<String, Object> options) throws IOException {
        Path free = temp.resolve("free");
        Path capped = temp.resolve("capped");
        Map<String, Object> tree = tree(TALE, options);
        // Two chunks: where there is one, spilling saves nothing.
        String text = TALE.resolve("calibration.txt").toString();
        tree.put("calibration", Map.of("data", text, "samples", 40, "length", LENGTH));
        Recipe recipe = Recipe.read(Options.of(tree), TestSweep.STEPS, tree);
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            TestSweep.run(recipe, TALE, free, backend, Long.MAX_VALUE, Progress.NONE);
            long cap = TestSweep.plan(recipe, TALE, free, backend, Long.MAX_VALUE).peakBytes() - 1;
            assertThat(TestSweep.plan(recipe, TALE, capped, backend, cap).spills()).isTrue();
            TestSweep.run(recipe, TALE, capped, backend, cap, Progress.NONE);
        }
        assertSame(free, capped);
    }

    @ParameterizedTest
    @CsvSource({
        "block-influence, 1",
        "angular, 2",
        "greedy, 0",
        "greedy, 2",
        "greedy, 4",
        "greedy, 6"
    })
    void anInterruptedRunGoesOn(String score, int advances) throws IOException {
        Map<String, Object> options = Map.of("drop", 2, "score", score);
        Path undisturbed = temp.resolve("undisturbed");
        Path out = temp.resolve("out");
        long whole = tokens(undisturbed, options, Integer.MAX_VALUE);
        assertThatThrownBy(() -> tokens(out, options, advances))
                .isInstanceOf(TestSweep.Killed.class);
        assertThat(out).doesNotExist();
        long rest = tokens(out, options, Integer.MAX_VALUE);
        if (score.equals("greedy")) {
            assertThat(rest).isLessThan(whole);
        }
        assertSame(undisturbed, out);
        // Nothing of the first run is in the way of the result, nor left.
        try (Stream<Path> files = Files.list(temp)) {
            assertThat(files).containsExactlyInAnyOrder(undisturbed, out);
        }
    }

    private static long tokens(Path out, Map<String, Object> options, int advances) {
        try (CountingBackend backend =
                new CountingBackend(new CpuBackend(BackendOptions.defaults()), LENGTH)) {
            run(TALE, out, options, backend, TestSweep.dyingAfter(advances));
            return backend.tokens();
        }
    }

    @ParameterizedTest
    @MethodSource("searches")
    void theReportSaysHowManyBlocksTheSequencesWentThrough(Map<String, Object> options) {
        try (CountingBackend backend =
                new CountingBackend(new CpuBackend(BackendOptions.defaults()), LENGTH)) {
            SweepResult result = run(TALE, temp.resolve("out"), options, backend, Progress.NONE);
            Number passes = value(result, "block_passes");
            assertThat(backend.tokens()).isEqualTo(passes.longValue() * SAMPLES * LENGTH);
        }
    }

    @Test
    void aRoundOfGreedyTakesAboutHalfAPassABlock() {
        assertThat(GreedySearch.blockPasses(32, 1)).isEqualTo(1 + 31 + 32 * 31 / 2);
        assertThat(GreedySearch.blockPasses(3, 2)).isEqualTo(1 + 2 + 3 + 1 + 1);
    }

    // ---------------------------------------------------------------- bad input

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "drop=0 | drop is 0, expected at least 1",
                "drop=x | drop is x, expected a whole number",
                "score=greedy | either drop or layers is needed",
                "'' | either drop or layers is needed",
                "drop=1;score=best | score is best, expected one of block-influence, angular,"
                        + " greedy",
                "layers=1,1 | layers is 1,1, which names a block twice",
                "layers=one | layers is one, expected indices of blocks, from 0",
                "layers=1;drop=1 | layers lists the blocks that go, so drop must not be given",
                "layers=1;score=greedy | layers lists the blocks that go, so score must not be"
                        + " given",
                "drops=1;drop=1 | unknown key drops; did you mean drop?",
            })
    void badOptionsAreNamed(String options, String message) {
        Map<String, Object> given = new LinkedHashMap<>();
        for (String option : options.isEmpty() ? new String[0] : options.split(";", -1)) {
            String[] parts = option.split("=", 2);
            given.put(
                    parts[0], parts[0].equals("layers") ? List.of(parts[1].split(",")) : parts[1]);
        }
        Map<String, Object> tree = tree(TALE, given);
        assertThatThrownBy(() -> Recipe.read(Options.of(tree), TestSweep.STEPS, tree))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(message);
    }

    @Test
    void blocksThatTheModelHasNotAreRefused() {
        assertThatThrownBy(() -> run(Map.of("drop", 3)))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("cannot drop 3 of the 3 layers of");
        assertThatThrownBy(() -> run(Map.of("layers", List.of(0, 1, 2))))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("cannot drop 3 of the 3 layers of");
        assertThatThrownBy(() -> run(Map.of("layers", List.of(3))))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e).hasMessageContaining("has no layer 3 to drop");
                            assertThat(e.hint()).isEqualTo("its layers are 0 to 2");
                        });
        assertThatThrownBy(() -> run(Map.of("layers", List.of(-1))))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("has no layer -1 to drop");
        assertThat(temp).isEmptyDirectory();
    }

    @Test
    void layersThatKnowTheirNumberCannotBeDropped() throws IOException {
        Path model = withText(TestFiles.testdata().resolve("tiny-gpt2"));
        config(model)
                .with("scale_attn_by_inverse_layer_idx", BooleanNode.TRUE)
                .write(model.resolve("config.json"));
        assertThatThrownBy(() -> run(model, temp.resolve("out"), Map.of("drop", 1)))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("the number of layers of a gpt2 cannot change");
    }

    private Path withText(Path source) throws IOException {
        Path model = EditedCheckpoint.withTokenizer(source, temp.resolve("model"));
        Files.writeString(
                model.resolve("text.txt"), WordTokenizer.text(WordTokenizer.ids(4000, 256)));
        return model;
    }

    @ParameterizedTest
    @MethodSource("io.llmc.prune.TestModels#tiny")
    void everyScoreRunsOnEveryFamily(Path source) throws IOException {
        Path model = withText(source);
        for (LayerScore score : LayerScore.values()) {
            String how = Options.spelling(score);
            SweepResult result = run(model, temp.resolve(how), Map.of("drop", 1, "score", how));
            assertThat(result.verifiedTensors()).isPositive();
            assertThat(layers(result.output())).isEqualTo(layers(model) - 1);
        }
    }
}
