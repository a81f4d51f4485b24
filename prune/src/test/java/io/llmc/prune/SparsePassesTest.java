// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.prune.experts.ExpertsPassTest;
import io.llmc.prune.weights.Allocation;
import io.llmc.tokenizer.CalibrationData;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Magnitude, Wanda and SparseGPT as whole sweeps: zeros as promised, counted in the written file.
class SparsePassesTest {
    private static final Path TALE = TestFiles.testdata().resolve("tale-llama");
    private static final Path LLAMA = TestFiles.testdata().resolve("tiny-llama");
    private static final Path GPT2 = TestFiles.testdata().resolve("tiny-gpt2");
    private static final Path MIXTRAL = TestFiles.testdata().resolve("tiny-mixtral");

    @TempDir Path temp;

    private Path model(Path source) throws IOException {
        return source.equals(TALE)
                ? TALE
                : EditedCheckpoint.withTokenizer(source, temp.resolve("model"));
    }

    private static TestSweep sweep(Path model, String method, Object... options) {
        Map<String, Object> map = new HashMap<>();
        for (int i = 0; i < options.length; i += 2) {
            map.put((String) options[i], options[i + 1]);
        }
        return TestSweep.of(model, method, map).on(12, 32);
    }

    static Stream<Path> models() {
        return Stream.concat(Stream.of(TALE), TestModels.tiny());
    }

    // ---------------------------------------------------------------- reading back

    /// The linear layers of a block, `[out][in]`.
    private static Map<String, double[][]> block(Path model, int index) {
        ModelSpec spec = TestModels.spec(model);
        Map<String, double[][]> all = new TreeMap<>();
        try (HostModel host = new HostModel(model)) {
            for (LinearSpec linear : spec.layers().get(index).linears(spec.hidden())) {
                double[][] stored = host.matrix(linear.name() + ".weight");
                all.put(linear.name(), spec.inOutLinears() ? turned(stored) : stored);
            }
        }
        return all;
    }

    private static Map<String, double[][]> linears(Path model) {
        Map<String, double[][]> all = new TreeMap<>();
        for (int i = 0; i < TestModels.spec(model).layers().size(); i++) {
            all.putAll(block(model, i));
        }
        return all;
    }

    private static double[][] turned(double[][] m) {
        double[][] t = new double[m[0].length][m.length];
        for (int r = 0; r < m.length; r++) {
            for (int c = 0; c < m[r].length; c++) {
                t[c][r] = m[r][c];
            }
        }
        return t;
    }

    private static long zeros(double[]... rows) {
        return Arrays.stream(rows).flatMapToDouble(Arrays::stream).filter(v -> v == 0).count();
    }

    private static long size(double[][] m) {
        return (long) m.length * m[0].length;
    }

    /// Other tensors are as they were, and reports say what is in the file.
    private static void assertHonest(Path model, Path out, SweepResult result) {
        Map<String, double[][]> linears = linears(out);
        Map<String, byte[]> before = EditedCheckpoint.bytes(model);
        Map<String, byte[]> after = EditedCheckpoint.bytes(out);
        assertThat(after.keySet()).isEqualTo(before.keySet());
        after.forEach((name, bytes) -> {
            if (!linears.containsKey(name.replaceAll("\\.weight$", ""))) {
                assertThat(bytes).as(name).isEqualTo(before.get(name));
            }
        });
        assertThat(result.reports())
                .extracting(ModuleReport::module)
                .containsExactlyInAnyOrderElementsOf(linears.keySet());
        for (ModuleReport r : result.reports()) {
            double[][] w = linears.get(r.module());
            assertThat((Double) r.values().get("sparsity"))
                    .as(r.module())
                    .isCloseTo((double) zeros(w) / size(w), within(1e-12));
        }
    }

    // ---------------------------------------------------------------- zeros as promised

    @ParameterizedTest
    @MethodSource("models")
    void magnitudeZeroesTheSmallestOfALayer(Path source) throws IOException {
        Path model = model(source);
        Path out = temp.resolve("out");
        assertHonest(model, out, sweep(model, "magnitude", "sparsity", 0.3).run(out));
        Map<String, double[][]> before = linears(model);
        linears(out)
                .forEach((name, w) -> {
                    double[][] old = before.get(name);
                    assertThat(zeros(w)).as(name).isEqualTo((long) (0.3 * size(w)));
                    double[] sizes =
                            Arrays.stream(old)
                                    .flatMapToDouble(Arrays::stream)
                                    .map(Math::abs)
                                    .sorted()
                                    .toArray();
                    double threshold = sizes[(int) zeros(w)];
                    for (int r = 0; r < w.length; r++) {
                        for (int c = 0; c < w[r].length; c++) {
                            if (w[r][c] != old[r][c]) {
                                assertThat(w[r][c]).isZero();
                                assertThat(Math.abs(old[r][c])).isLessThanOrEqualTo(threshold);
                            }
                        }
                    }
                });
    }

    @ParameterizedTest
    @MethodSource("models")
    void wandaZeroesAsManyOfEveryRow(Path source) throws IOException {
        Path model = model(source);
        Path out = temp.resolve("out");
        assertHonest(model, out, sweep(model, "wanda", "sparsity", 0.6).run(out));
        linears(out)
                .forEach((name, w) -> {
                    for (double[] row : w) {
                        assertThat(zeros(row)).as(name).isEqualTo((int) (0.6 * row.length));
                    }
                });
    }

    @ParameterizedTest
    @CsvSource({"magnitude, row", "wanda, layer"})
    void comparesWhereItIsTold(String method, String compare) throws IOException {
        Path model = model(LLAMA);
        Path out = temp.resolve("out");
        assertHonest(
                model, out, sweep(model, method, "sparsity", 0.4, "compare", compare).run(out));
        linears(out)
                .forEach((name, w) -> {
                    long rowsOfOneCount =
                            Arrays.stream(w)
                                    .filter(row -> zeros(row) == (int) (0.4 * row.length))
                                    .count();
                    if (compare.equals("row")) {
                        assertThat(rowsOfOneCount).as(name).isEqualTo(w.length);
                    } else {
                        assertThat(zeros(w)).as(name).isEqualTo((long) (0.4 * size(w)));
                        assertThat(rowsOfOneCount).as(name).isLessThan(w.length);
                    }
                });
    }

    @ParameterizedTest
    @MethodSource("models")
    void sparseGptZeroesItsPartOfEveryRunOfColumns(Path source) throws IOException {
        Path model = model(source);
        Path out = temp.resolve("out");
        SweepResult result = sweep(model, "sparsegpt", "sparsity", 0.5, "blockSize", 24).run(out);
        assertHonest(model, out, result);
        linears(out)
                .forEach((name, w) -> {
                    for (int from = 0; from < w[0].length; from += 24) {
                        int to = Math.min(from + 24, w[0].length);
                        int start = from;
                        double[][] run =
                                Arrays.stream(w)
                                        .map(row -> Arrays.copyOfRange(row, start, to))
                                        .toArray(double[][]::new);
                        // One more than half, as the reference has it.
                        assertThat(zeros(run)).as(name).isEqualTo(size(run) / 2 + 1);
                    }
                });
        assertCompensates(result);
    }

    /// On the tokens of calibration, on which the errors are least squares.
    private static void assertCompensates(SweepResult result) {
        for (ModuleReport r : result.reports()) {
            assertThat((Double) r.values().get("relative_error"))
                    .as(r.module())
                    .isPositive()
                    .isLessThan((Double) r.values().get("uncompensated_error"));
        }
    }

    static Stream<Object[]> patterns() {
        return Stream.of("magnitude", "wanda", "sparsegpt")
                .flatMap(method ->
                        Stream.concat(
                                models().map(model -> new Object[] {method, model, "2:4"}),
                                Stream.of(LLAMA, GPT2, MIXTRAL)
                                        .map(model -> new Object[] {method, model, "1:8"})));
    }

    @ParameterizedTest
    @MethodSource("patterns")
    void aPatternHoldsInEveryGroup(String method, Path source, String pattern) throws IOException {
        Path model = model(source);
        Path out = temp.resolve("out");
        assertHonest(model, out, sweep(model, method, "pattern", pattern).run(out));
        int n = pattern.charAt(0) - '0';
        int m = pattern.charAt(2) - '0';
        linears(out)
                .forEach((name, w) -> {
                    for (double[] row : w) {
                        for (int g = 0; g < row.length; g += m) {
                            long left = m - zeros(Arrays.copyOfRange(row, g, g + m));
                            assertThat(left).as("%s, inputs from %d", name, g).isEqualTo(n);
                        }
                    }
                });
    }

    @Test
    void ignoredLayersStayAsTheyAre() throws IOException {
        Path model = model(LLAMA);
        Path out = temp.resolve("out");
        sweep(model, "wanda", "ignore", List.of("*.down_proj", "*.q_proj")).run(out);
        Map<String, double[][]> before = linears(model);
        linears(out)
                .forEach((name, w) -> {
                    if (name.endsWith("down_proj") || name.endsWith("q_proj")) {
                        assertThat(w).as(name).isDeepEqualTo(before.get(name));
                    } else {
                        assertThat(zeros(w)).as(name).isEqualTo(size(w) / 2);
                    }
                });
    }

    // ---------------------------------------------------------------- what is chosen

    @Test
    void wandasMaskIsThatOfThePlainFormula() throws IOException {
        Path model = model(LLAMA);
        Path out = temp.resolve("out");
        TestSweep sweep = sweep(model, "wanda", "sparsity", 0.5);
        sweep.run(out);
        String q = "model.layers.0.self_attn.q_proj";
        double[][] w = block(model, 0).get(q);
        double[][] got = block(out, 0).get(q);
        double[][] h;
        try (HostModel host = new HostModel(model)) {
            h = Plain.gram(host.attentionInputs(sweep.calibrationIds()));
        }
        for (int o = 0; o < w.length; o++) {
            double[] row = w[o];
            Set<Integer> smallest =
                    new HashSet<>(
                            IntStream.range(0, row.length)
                                    .boxed()
                                    .sorted(
                                            Comparator.comparingDouble(
                                                    i -> Math.abs(row[i]) * Math.sqrt(h[i][i])))
                                    .limit(row.length / 2)
                                    .toList());
            for (int i = 0; i < row.length; i++) {
                assertThat(got[o][i])
                        .as("[%d, %d]", o, i)
                        .isEqualTo(smallest.contains(i) ? 0 : row[i]);
            }
        }
    }

    /// An expert that no token chooses.
    @ParameterizedTest
    @CsvSource({
        "wanda, 'saw no calibration token; its smallest weights were zeroed'",
        "sparsegpt, 'its Hessian over 0 tokens has no Cholesky factor; its smallest weights were"
                + " zeroed'"
    })
    void anExpertWithoutTokensIsNamed(String method, String warning) throws IOException {
        Path model =
                EditedCheckpoint.write(
                        MIXTRAL, temp.resolve("model"), ExpertsPassTest::neverTheLast, Map.of());
        Path out = temp.resolve("out");
        SweepResult result = sweep(model, method, "sparsity", 0.5).run(out);
        for (ModuleReport r : result.reports()) {
            boolean silent = r.module().contains(".experts.3.");
            if (silent) {
                assertThat(r.warnings()).as(r.module()).containsExactly(warning);
                assertThat(r.values())
                        .containsEntry("method", "magnitude")
                        .containsEntry("tokens", 0L);
                assertThat(r.values()).doesNotContainKey("relative_error");
            } else {
                assertThat(r.warnings()).as(r.module()).isEmpty();
                assertThat(r.values()).containsEntry("method", method);
            }
        }
        assertThat(zeros(linears(out).get("model.layers.0.block_sparse_moe.experts.3.w1")))
                .isEqualTo(32 * 64 / 2);
    }

    /// The figures about it are figures, too.
    @ParameterizedTest
    @ValueSource(strings = {"magnitude", "wanda", "sparsegpt"})
    void aLayerOfZerosLosesNothing(String method) throws IOException {
        Path model =
                EditedCheckpoint.write(
                        LLAMA,
                        temp.resolve("model"),
                        EditedCheckpoint.silence("down_proj"),
                        Map.of());
        SweepResult result = sweep(model, method).run(temp.resolve("out"));
        Map<String, Object> values =
                TestSweep.report(result, "model.layers.0.mlp.down_proj").values();
        assertThat(values.getOrDefault("relative_error", 0.0)).isEqualTo(0.0);
        assertThat(values.getOrDefault("uncompensated_error", 0.0)).isEqualTo(0.0);
    }

    // ---------------------------------------------------------------- allocation

    @ParameterizedTest
    @ValueSource(strings = {"magnitude", "wanda", "sparsegpt"})
    void everyBlockHasTheSparsityOfTheList(String method) throws IOException {
        Path out = temp.resolve("out");
        double[] wanted = {0.25, 0.75, 0};
        sweep(TALE, method, "allocation", List.of("0.25", "0.75", "0")).run(out);
        for (int b = 0; b < 3; b++) {
            for (Map.Entry<String, double[][]> layer : block(out, b).entrySet()) {
                double share = (double) zeros(layer.getValue()) / size(layer.getValue());
                assertThat(share).as(layer.getKey()).isCloseTo(wanted[b], within(1e-4));
            }
        }
        double[][] first = block(TALE, 2).values().iterator().next();
        assertThat(block(out, 2).values().iterator().next()).isDeepEqualTo(first);
    }

    /// Of every block, from an independent walk: weights times norms of inputs above so many times
    /// their mean over the block.
    private static double[] outliers(TestSweep sweep, double factor) throws IOException {
        List<Double> shares = new ArrayList<>();
        Windows windows;
        try (Checkpoint c = Checkpoint.open(TALE);
                Tokenizer tokenizer = Tokenizer.open(c);
                Backend backend = new CpuBackend(BackendOptions.defaults());
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend)) {
            windows = CalibrationData.load(sweep.recipe().calibration(), tokenizer);
            try (HiddenStates states = new HiddenStates(model, windows, null)) {
                states.embed();
                for (int b = 0; b < model.spec().layers().size(); b++) {
                    shares.add(share(model, states, b, factor));
                }
            }
        }
        return shares.stream().mapToDouble(s -> s).toArray();
    }

    /// Hears of all inputs in their order.
    private record Listening(Consumer<LayerInput> listener)
            implements Observer<LayerInput, Boolean> {
        @Override
        public Boolean empty(Desk d) {
            return true;
        }

        @Override
        public Boolean see(Boolean s, LayerInput input) {
            listener.accept(input);
            return s;
        }

        @Override
        public Boolean merge(Boolean a, Boolean b) {
            return a;
        }
    }

    private static double share(LanguageModel model, HiddenStates states, int b, double factor) {
        Map<String, double[][]> weights = block(TALE, b);
        List<double[]> scores = new ArrayList<>();
        try (TensorReader reader = model.checkpoint().reader();
                TensorArena arena = model.backend().newArena(model.blockBytes(b))) {
            DecoderBlock block = model.block(b, reader, arena);
            states.prepare(block);
            for (Stage stage : block.stages()) {
                Map<Linear, double[]> squares = new HashMap<>();
                long[] tokens = new long[1];
                Consumer<LayerInput> square =
                        input -> {
                            float[] values = model.backend().floats(input.x());
                            int in = (int) input.x().cols();
                            double[] sums =
                                    squares.computeIfAbsent(
                                            input.layers().getFirst(), _ -> new double[in]);
                            for (int i = 0; i < values.length; i++) {
                                sums[i % in] += (double) values[i] * values[i];
                            }
                            tokens[0] += input.x().rows();
                            input.layers().forEach(l -> squares.put(l, sums));
                        };
                try (SumTree<?, ?> sums = states.observe(stage, new Listening(square))) {
                    sums.total();
                }
                squares.forEach((layer, ofLayer) -> {
                    for (double[] row : weights.get(layer.name())) {
                        scores.add(
                                IntStream.range(0, row.length)
                                        .mapToDouble(i ->
                                                Math.abs(row[i])
                                                        * Math.sqrt(ofLayer[i] / tokens[0]))
                                        .toArray());
                    }
                });
                states.advance(stage);
            }
        }
        double mean = scores.stream().flatMapToDouble(Arrays::stream).average().orElseThrow();
        return scores.stream()
                .flatMapToDouble(Arrays::stream)
                .map(s -> s > factor * mean ? 1 : 0)
                .average()
                .orElseThrow();
    }

    @ParameterizedTest
    @ValueSource(strings = {"wanda", "sparsegpt"})
    void owlSparesBlocksWithOutliers(String method) throws IOException {
        TestSweep sweep =
                sweep(
                        TALE,
                        method,
                        "sparsity",
                        0.6,
                        "allocation",
                        "owl",
                        "owlM",
                        4,
                        "owlLambda",
                        0.1);
        Path out = temp.resolve("out");
        sweep.run(out);
        double[] shares = outliers(sweep, 4);
        double min = DoubleStream.of(shares).min().orElseThrow();
        double max = DoubleStream.of(shares).max().orElseThrow();
        double mean = DoubleStream.of(shares).average().orElseThrow();
        assertThat(max).isGreaterThan(1.01 * min);
        double total = 0;
        for (int b = 0; b < 3; b++) {
            double wanted = 0.6 - (shares[b] - mean) / (max - min) * 0.2;
            Map<String, double[][]> layers = block(out, b);
            long all = layers.values().stream().mapToLong(SparsePassesTest::size).sum();
            double share =
                    layers.values().stream().mapToLong(SparsePassesTest::zeros).sum()
                            / (double) all;
            // A row of Wanda's loses whole weights, of 256 and 512.
            assertThat(share).as("block %d", b).isCloseTo(wanted, within(1 / 256.0));
            total += share / 3;
        }
        assertThat(total).isCloseTo(0.6, within(1 / 256.0));
    }

    @Test
    void owlFollowsItsFormula() {
        Allocation owl = new Allocation(List.of(), true, 5, 0.08);
        double[] shares = {0.02, 0.05, 0.01, 0.04};
        double mean = 0;
        for (int b = 0; b < 4; b++) {
            double want = 0.7 - ((shares[b] - 0.01) / 0.04 * 0.16 - 0.08);
            assertThat(owl.sparsity(0.7, b, shares)).isCloseTo(want, within(1e-12));
            mean += owl.sparsity(0.7, b, shares) / 4;
        }
        assertThat(mean).isCloseTo(0.7, within(1e-12));
        assertThat(owl.sparsity(0.7, 1, new double[] {0.1, 0.1})).isEqualTo(0.7);
    }

    // ---------------------------------------------------------------- the same bytes

    @ParameterizedTest
    @CsvSource({
        "magnitude, tiny-gpt2, unstructured, uniform",
        "wanda, tiny-mixtral, unstructured, uniform",
        "wanda, tiny-phi3, 2:4, uniform",
        "sparsegpt, tiny-mixtral, 2:4, uniform",
        "sparsegpt, tiny-gemma3_text, unstructured, uniform",
    })
    void nothingThatHappensChangesAByte(
            String method, String name, String pattern, String allocation) throws IOException {
        TestSweep sweep =
                sweep(
                        model(TestFiles.testdata().resolve(name)),
                        method,
                        "pattern",
                        pattern,
                        "allocation",
                        allocation);
        if (method.equals("magnitude")) {
            sweep.run(temp.resolve("whole"));
            Path out = temp.resolve("out");
            assertThatThrownBy(() -> sweep.run(out, 3, 0)).isInstanceOf(TestSweep.Killed.class);
            assertThat(sweep.run(out, 1, Integer.MAX_VALUE).resumedBlocks()).isEqualTo(1);
            assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(temp.resolve("whole")));
        } else {
            sweep.assertSameBytesWhateverHappens(temp, 0, 1);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"wanda", "sparsegpt"})
    void aSurveySurvives(String method) throws IOException {
        TestSweep sweep = sweep(model(LLAMA), method, "allocation", "owl", "owlM", 2);
        Path calm = temp.resolve("calm");
        sweep.run(calm);
        // Two blocks looked at, and one that is done.
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> sweep.run(out, 2, 2)).isInstanceOf(TestSweep.Killed.class);
        Path note = TestSweep.work(out).resolve("survey-0.note");
        assertThat(note).exists();
        assertThat(sweep.run(out, 1, Integer.MAX_VALUE).resumedBlocks()).isEqualTo(1);
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(calm));
        // A look that was cut short is taken again.
        Path early = temp.resolve("early");
        assertThatThrownBy(() -> sweep.run(early, 2, 1)).isInstanceOf(TestSweep.Killed.class);
        assertThat(TestSweep.work(early).resolve("survey-0.note")).doesNotExist();
        sweep.run(early);
        assertThat(TestSweep.files(early)).isEqualTo(TestSweep.files(calm));
        // Blocks are done, but what they were done by is lost.
        Path lost = temp.resolve("lost");
        assertThatThrownBy(() -> sweep.run(lost, 2, 2)).isInstanceOf(TestSweep.Killed.class);
        Files.delete(TestSweep.work(lost).resolve("survey-0.note"));
        assertThatThrownBy(() -> sweep.run(lost))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("lacks a file of the run that it is left of");
    }

    @ParameterizedTest
    @CsvSource({"wanda, owl", "sparsegpt, uniform"})
    void aMemoryCapSpillsActivationsAndDoesNotChangeAByte(String method, String allocation)
            throws IOException {
        // Two chunks: where there is one, spilling saves nothing.
        TestSweep sweep = sweep(TALE, method, "allocation", allocation).on(40, 64);
        Path free = temp.resolve("free");
        Path out = temp.resolve("capped");
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            sweep.run(free, backend, Long.MAX_VALUE, Integer.MAX_VALUE);
            long cap = sweep.plan(out, backend, Long.MAX_VALUE).peakBytes() - 1;
            SweepPlan plan = sweep.plan(out, backend, cap);
            assertThat(plan.spills()).isTrue();
            assertThat(plan.peakBytes()).isLessThanOrEqualTo(cap);
            sweep.run(out, backend, cap, Integer.MAX_VALUE);
        }
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(free));
    }

    // ---------------------------------------------------------------- refusals

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "magnitude|sparsity=1.5|sparsity is 1.5, expected 0 to 1",
                "wanda|sparsity=-0.1|sparsity is -0.1, expected 0 to 1",
                "sparsegpt|sparsity=NaN|sparsity is NaN, expected a number",
                "wanda|sparsity=half|sparsity is half, expected a number",
                "wanda|pattern=2:4;sparsity=0.3|pattern 2:4 means a sparsity of 0.5; leave sparsity"
                        + " out",
                "magnitude|pattern=4:2|pattern is 4:2, but 4 of 2 cannot stay",
                "magnitude|pattern=2of4|pattern is 2of4, expected unstructured, or N:M as 2:4",
                "wanda|compare=column|compare is column, expected one of row, layer",
                "wanda|allocation=best|allocation is best, expected uniform, owl or one sparsity a"
                        + " block",
                "wanda|allocation=0.5,1.5|allocation is 0.5,1.5, expected sparsities of 0 to 1",
                "wanda|allocation=owl;pattern=2:4|pattern 2:4 gives every block the same sparsity;"
                        + " leave allocation out",
                "wanda|allocation=owl;owlLambda=1|owlM is 5.0 and owlLambda 1.0, expected above 0,"
                        + " and 0 to 1",
                "magnitude|allocation=owl|owl needs calibration data, which magnitude has not; use"
                        + " wanda",
                "sparsegpt|pattern=2:4;blockSize=6|blockSize is 6, expected a positive multiple of"
                        + " 4",
                "sparsegpt|blockSize=0|blockSize is 0, expected a positive multiple of 1",
                "sparsegpt|damping=1|damping is 1.0, expected 0 to 1",
                "sparsegpt|compare=row|unknown key compare",
            })
    void badOptionsAreNamed(String method, String options, String message) throws IOException {
        TestSweep sweep = TestSweep.of(model(LLAMA), method, parsed(options));
        assertThatThrownBy(sweep::recipe)
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(message);
    }

    private static Map<String, Object> parsed(String options) {
        Map<String, Object> all = new HashMap<>();
        for (String option : options.split(";", -1)) {
            String[] parts = option.split("=", 2);
            boolean list = parts[0].equals("allocation");
            all.put(parts[0], list ? List.of(parts[1].split(",", -1)) : parts[1]);
        }
        return all;
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "magnitude|pattern=2:5|pattern 2:5 does not divide the 64 inputs of"
                        + " model.layers.0.self_attn.q_proj"
                        + "|choose another pattern, or leave this layer out with {ignore}",
                "wanda|allocation=0.5|allocation lists 1 sparsities, but the model has 2 blocks"
                        + "|list one for each block, the first block's first",
                "sparsegpt|allocation=0.5,0.5,0.5|allocation lists 3 sparsities, but the model has"
                        + " 2 blocks|list one for each block, the first block's first",
            })
    void refuses(String method, String options, String message, String hint) throws IOException {
        TestSweep sweep = TestSweep.of(model(LLAMA), method, parsed(options));
        assertThatThrownBy(() -> sweep.run(temp.resolve("out")))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e).hasMessage(message);
                            assertThat(e.hint()).isEqualTo(hint);
                        });
        assertThat(temp.resolve("out")).doesNotExist();
    }
}
