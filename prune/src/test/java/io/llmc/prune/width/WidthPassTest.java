// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.prune.EditedCheckpoint;
import io.llmc.prune.HostModel;
import io.llmc.prune.Plain;
import io.llmc.prune.TestModels;
import io.llmc.prune.TestSweep;
import io.llmc.prune.experts.ExpertsPassTest;
import io.llmc.solver.Factor;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Fewer channels and heads: shapes in every family, what may go without a trace, and the refit.
@Tag("long")
class WidthPassTest {
    private static final Path LLAMA = TestFiles.testdata().resolve("tiny-llama");
    private static final Path MIXTRAL = TestFiles.testdata().resolve("tiny-mixtral");
    private static final String DOWN = "model.layers.0.mlp.down_proj";
    private static final String GATE = "model.layers.0.mlp.gate_proj.weight";
    private static final String ATTENTION = "model.layers.0.self_attn.";

    @TempDir Path temp;

    private Path model(Path source) throws IOException {
        return EditedCheckpoint.withTokenizer(source, temp.resolve("model"));
    }

    private static TestSweep width(Path model, Map<String, Object> options) {
        return TestSweep.of(model, "width", options).on(12, 16);
    }

    private static SelfAttentionSpec attention(LayerSpec layer) {
        return layer.body(SelfAttentionSpec.class).orElseThrow();
    }

    private static SelfAttentionSpec attention(ModelSpec spec) {
        return attention(spec.layers().getFirst());
    }

    private static int group(ModelSpec spec) {
        return attention(spec).heads() / attention(spec).kvHeads();
    }

    // ---------------------------------------------------------------- every family

    /// Readers take the size of a head to be the width over the number of heads.
    private static boolean hasFixedHeads(ModelSpec spec) {
        return Set.of("gpt2", "gpt_neox").contains(spec.modelType());
    }

    /// What a family can have less of.
    private static List<Map<String, Object>> choices(ModelSpec spec) {
        Map<String, Object> ffn = Map.of("ffn", 0.5, "multipleOf", 1);
        List<Map<String, Object>> all = new ArrayList<>(List.of(ffn));
        boolean heads = !hasFixedHeads(spec);
        if (heads) {
            all.add(Map.of("heads", 0.5));
        }
        if (heads && attention(spec).kvHeads() > 1) {
            all.add(Map.of("kvGroups", 0.5));
        }
        if (heads && attention(spec).kvHeads() > 1 && group(spec) > 1) {
            all.add(Map.of("ffn", 0.5, "heads", 0.5, "kvGroups", 0.5, "multipleOf", 1));
        }
        return all;
    }

    @ParameterizedTest
    @MethodSource("io.llmc.prune.TestModels#all")
    void everyFamilyBecomesNarrower(Path source) throws IOException {
        TestModels.require(source);
        Path model = model(source);
        ModelSpec before = TestModels.spec(model);
        for (Map<String, Object> options : choices(before)) {
            Path out = temp.resolve("out" + options.keySet());
            SweepResult result = width(model, options).run(out);
            assertSizes(model, out, options);
            assertThat(result.reports()).isNotEmpty();
            for (ModuleReport r : result.reports()) {
                if (r.values().get("relative_error") instanceof Double error) {
                    double mask = (Double) r.values().get("uncompensated_error");
                    assertThat(error).as(r.module()).isBetween(0.0, mask * (1 + 1e-6));
                    assertThat(mask).as(r.module()).isBetween(1e-9, 1.0);
                } else {
                    assertThat(r.warnings()).as(r.module()).isNotEmpty();
                }
            }
        }
    }

    private static void assertSizes(Path model, Path out, Map<String, Object> options) {
        ModelSpec before = TestModels.spec(model);
        int channels = before.layers().getFirst().count(Size.INTERMEDIATE);
        int each = group(before);
        int kv = attention(before).kvHeads();
        boolean alone = each == 1;
        if (options.containsKey("ffn")) {
            channels = (int) Math.round(0.5 * channels);
        }
        if (options.containsKey("kvGroups") || (alone && options.containsKey("heads"))) {
            kv = (int) Math.round(0.5 * kv);
        }
        if (options.containsKey("heads") && !alone) {
            each = (int) Math.round(0.5 * each);
        }
        try (Checkpoint c = Checkpoint.open(out)) {
            ModelSpec after = Architectures.specOf(c);
            HfConfig config = c.config();
            Architecture family = Architectures.of(config);
            for (LayerSpec layer : after.layers()) {
                assertThat(layer.count(Size.INTERMEDIATE)).isEqualTo(channels);
                assertThat(attention(layer).kvHeads()).isEqualTo(kv);
                assertThat(attention(layer).heads()).isEqualTo(kv * each);
                assertThat(attention(layer).headDim()).isEqualTo(attention(before).headDim());
                for (LinearSpec linear : layer.linears(after.hidden())) {
                    long[] shape =
                            after.inOutLinears()
                                    ? new long[] {linear.in(), linear.out()}
                                    : new long[] {linear.out(), linear.in()};
                    assertThat(c.info(linear.name() + ".weight").shape().dims())
                            .as(linear.name())
                            .containsExactly(shape);
                    if (c.has(linear.name() + ".bias")) {
                        assertThat(c.info(linear.name() + ".bias").shape().size())
                                .as(linear.name())
                                .isEqualTo(linear.out());
                    }
                }
            }
            assertThat(config.integer(family.key(Size.INTERMEDIATE))).isEqualTo(channels);
            assertThat(config.integer(family.key(Size.HEADS))).isEqualTo(kv * each);
            if (!hasFixedHeads(after)) {
                assertThat(config.integer("num_key_value_heads", kv * each)).isEqualTo(kv);
                assertThat(config.integer("head_dim")).isEqualTo(attention(before).headDim());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.llmc.prune.TestModels#tiny")
    void theFullSizeChangesNoByte(Path source) throws IOException {
        Path model = model(source);
        Path out = temp.resolve("out");
        Map<String, Object> options = new HashMap<>(Map.of("ffn", 1.0, "heads", 1.0));
        if (group(TestModels.spec(model)) > 1) {
            options.put("kvGroups", 1.0);
        }
        width(model, options).run(out);
        assertThat(TestSweep.files(out).get("model.safetensors"))
                .isEqualTo(TestSweep.files(model).get("model.safetensors"));
    }

    // ---------------------------------------------------------------- what may go without a trace

    /// Silences some inputs of the layers of one name.
    private static EditedCheckpoint.Edit silenced(
            Set<String> layers, boolean inOut, boolean[] silent) {
        return (name, rows) -> {
            if (!layers.contains(name)) {
                return rows;
            }
            byte[][] edited = new byte[rows.length][];
            for (int r = 0; r < rows.length; r++) {
                edited[r] = rows[r].clone();
                int columns = inOut ? 1 : silent.length;
                int size = rows[r].length / columns;
                for (int c = 0; c < columns; c++) {
                    if (silent[inOut ? r : c]) {
                        Arrays.fill(edited[r], c * size, (c + 1) * size, (byte) 0);
                    }
                }
            }
            return edited;
        };
    }

    private Path silenced(Path source, Set<String> layers, boolean[] silent) throws IOException {
        boolean inOut = TestModels.spec(source).inOutLinears();
        return EditedCheckpoint.write(
                source, temp.resolve("model"), silenced(layers, inOut, silent), Map.of());
    }

    private static Set<String> downs(ModelSpec spec) {
        return spec.layers().stream()
                .flatMap(layer -> layer.pruneGroups().stream())
                .filter(group -> group.size() == Size.INTERMEDIATE)
                .map(group -> group.columns().getFirst().linear() + ".weight")
                .collect(Collectors.toSet());
    }

    private static Set<String> outputs(ModelSpec spec) {
        return spec.layers().stream()
                .map(layer -> attention(layer).output() + ".weight")
                .collect(Collectors.toSet());
    }

    /// Rounding alone: sums of F32 in another order.
    private void assertNothingChanges(Path model, Map<String, Object> options) throws IOException {
        for (String importance : List.of("obs", "wanda")) {
            Path out = temp.resolve("out-" + importance);
            Map<String, Object> all = new HashMap<>(options);
            all.put("importance", importance);
            width(model, all).run(out);
            assertThat(TestSweep.worst(TestSweep.logits(out), TestSweep.logits(model)))
                    .as(importance)
                    .isLessThan(1e-4);
        }
    }

    @ParameterizedTest
    @MethodSource("io.llmc.prune.TestModels#all")
    void silentChannelsGoWithoutATrace(Path source) throws IOException {
        TestModels.require(source);
        ModelSpec spec = TestModels.spec(source);
        boolean[] silent = new boolean[spec.layers().getFirst().count(Size.INTERMEDIATE)];
        int left = silent.length;
        for (int i = 1; i < silent.length; i += 3) {
            silent[i] = true;
            left--;
        }
        Path model = silenced(source, downs(spec), silent);
        assertNothingChanges(model, Map.of("ffn", left, "multipleOf", 1));
    }

    static Stream<Path> withGroups() {
        return TestModels.all()
                .filter(m ->
                        !Files.exists(m.resolve("config.json")) || group(TestModels.spec(m)) > 1);
    }

    static Stream<Path> withSeveralKvHeads() {
        return TestModels.all()
                .filter(m ->
                        !Files.exists(m.resolve("config.json"))
                                || (attention(TestModels.spec(m)).kvHeads() > 1
                                        && !hasFixedHeads(TestModels.spec(m))));
    }

    @ParameterizedTest
    @MethodSource("withGroups")
    void silentHeadsGoWithoutATrace(Path source) throws IOException {
        TestModels.require(source);
        ModelSpec spec = TestModels.spec(source);
        SelfAttentionSpec a = attention(spec);
        int group = group(spec);
        boolean[] silent = new boolean[a.queryWidth()];
        for (int g = 0; g < a.kvHeads(); g++) {
            // Another one in each group.
            int head = g * group + g % group;
            Arrays.fill(silent, head * a.headDim(), (head + 1) * a.headDim(), true);
        }
        Path model = silenced(source, outputs(spec), silent);
        assertNothingChanges(model, Map.of("heads", (group - 1) * a.kvHeads()));
    }

    @ParameterizedTest
    @MethodSource("withSeveralKvHeads")
    void silentKvHeadsGoWithoutATrace(Path source) throws IOException {
        TestModels.require(source);
        ModelSpec spec = TestModels.spec(source);
        SelfAttentionSpec a = attention(spec);
        boolean[] silent = new boolean[a.queryWidth()];
        int width = group(spec) * a.headDim();
        Arrays.fill(silent, (a.kvHeads() - 2) * width, (a.kvHeads() - 1) * width, true);
        Path model = silenced(source, outputs(spec), silent);
        assertNothingChanges(model, Map.of("kvGroups", a.kvHeads() - 1));
    }

    // ---------------------------------------------------------------- what is chosen

    /// Rows of the result by their place in the original.
    private static int[] places(double[][] rows, double[][] original) {
        return Arrays.stream(rows)
                .mapToInt(row ->
                        IntStream.range(0, original.length)
                                .filter(i -> Arrays.equals(original[i], row))
                                .findFirst()
                                .orElseThrow(() -> new AssertionError("a row of no original")))
                .toArray();
    }

    private double[][] downInputs(TestSweep sweep) {
        int[] ids = sweep.calibrationIds();
        try (HostModel host = new HostModel(sweep.model())) {
            return windows(ids, sweep.length())
                    .flatMap(w -> Arrays.stream(host.downInputs(w)))
                    .toArray(double[][]::new);
        }
    }

    private static Stream<int[]> windows(int[] ids, int length) {
        return IntStream.range(0, ids.length / length)
                .mapToObj(w -> Arrays.copyOfRange(ids, w * length, (w + 1) * length));
    }

    private double[][] matrix(Path model, String name) {
        try (HostModel host = new HostModel(model)) {
            return host.matrix(name);
        }
    }

    private static int[] largest(double[] scores, int count) {
        return IntStream.range(0, scores.length)
                .boxed()
                .sorted(Comparator.comparingDouble(i -> -scores[i]))
                .limit(count)
                .mapToInt(i -> i)
                .sorted()
                .toArray();
    }

    private double[] wanda(double[][] x, double[][] w) {
        double[][] h = Plain.gram(x);
        return IntStream.range(0, h.length)
                .mapToDouble(i ->
                        Arrays.stream(w).mapToDouble(row -> Math.abs(row[i])).sum()
                                * Math.sqrt(h[i][i]))
                .toArray();
    }

    private double[] activity(double[][] x, int length) {
        double[] scores = new double[x[0].length];
        for (int i = 0; i < scores.length; i++) {
            for (int from = 0; from < x.length; from += length) {
                double mean = 0;
                for (int t = from; t < from + length; t++) {
                    mean += Math.abs(x[t][i]) / length;
                }
                scores[i] += mean * mean;
            }
        }
        return scores;
    }

    /// Output error that is left when one input goes and the others are refitted.
    private double[] bruteForce(double[][] x, double[][] w, double damping) {
        double[][] h = Plain.damped(Plain.gram(x), damping);
        int n = h.length;
        double[] scores = new double[n];
        for (int gone = 0; gone < n; gone++) {
            int[] kept = without(n, gone);
            double[][] refitted = Plain.refit(w, h, kept, 0);
            scores[gone] = Plain.distance(Plain.spread(refitted, kept, n), w, h);
        }
        return scores;
    }

    private static int[] without(int n, int gone) {
        return IntStream.range(0, n).filter(i -> i != gone).toArray();
    }

    @ParameterizedTest
    @CsvSource({"wanda, 63", "wanda, 40", "activation, 63", "activation, 40", "obs, 63"})
    void channelsStayThatTheFormulaKeeps(String importance, int keep) throws IOException {
        Path model = model(LLAMA);
        TestSweep sweep =
                width(model, Map.of("ffn", keep, "multipleOf", 1, "importance", importance));
        Path out = temp.resolve("out");
        sweep.run(out);
        double[][] x = downInputs(sweep);
        double[][] w = matrix(model, DOWN + ".weight");
        double[] scores =
                switch (importance) {
                    case "wanda" -> wanda(x, w);
                    case "activation" -> activity(x, sweep.length());
                    default -> bruteForce(x, w, 0.01);
                };
        assertThat(places(matrix(out, GATE), matrix(model, GATE)))
                .containsExactly(largest(scores, keep));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 4})
    void theScoreOfAUnitIsTheErrorThatBruteForceFinds(int width) {
        int in = 24;
        int out = 5;
        Random random = new Random(11);
        double[][] x = random(random, 60, in);
        double[][] w = random(random, out, in);
        double[][] h = Plain.gram(x);
        double[] got;
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 20)) {
            Factor factor =
                    Factor.of(new Desk(backend, arena), tensor(backend, arena, h), 0.01, false);
            Tensor weights = tensor(backend, arena, w);
            got = UnitScores.obs(new Desk(backend, arena), weights, factor, width);
        }
        assertThat(got).hasSize(in / width);
        double[][] damped = Plain.damped(h, 0.01);
        for (int u = 0; u < got.length; u++) {
            int first = u * width;
            int[] kept =
                    IntStream.range(0, in).filter(i -> i < first || i >= first + width).toArray();
            double[][] refitted = Plain.refit(w, damped, kept, 0);
            double want = Plain.distance(Plain.spread(refitted, kept, in), w, damped);
            assertThat(got[u]).as("unit %d", u).isCloseTo(want, within(1e-4 * want));
        }
    }

    private static double[][] random(Random random, int rows, int columns) {
        double[][] m = new double[rows][columns];
        for (double[] row : m) {
            // What a float holds, and inputs that depend on each other.
            for (int i = 0; i < columns; i++) {
                row[i] = (float) (random.nextGaussian() + (i > 0 ? 0.5 * row[i - 1] : 0));
            }
        }
        return m;
    }

    private static Tensor tensor(Backend backend, TensorArena arena, double[][] m) {
        float[] flat = new float[m.length * m[0].length];
        for (int i = 0; i < flat.length; i++) {
            flat[i] = (float) m[i / m[0].length][i % m[0].length];
        }
        return new Desk(backend, arena).floats(flat).reshape(m.length, m[0].length);
    }

    @ParameterizedTest
    @ValueSource(strings = {"obs", "wanda", "activation"})
    void headsStayInsideEachKvGroup(String importance) throws IOException {
        Path model = model(LLAMA);
        SelfAttentionSpec a = attention(TestModels.spec(model));
        Path out = temp.resolve("out");
        SweepResult result = width(model, Map.of("heads", 0.5, "importance", importance)).run(out);
        assertThat(TestSweep.report(result, ATTENTION + "o_proj").values().get("kept"))
                .isEqualTo("2 of 4 heads");
        for (int layer = 0; layer < 2; layer++) {
            String q = "model.layers.%d.self_attn.q_proj.weight".formatted(layer);
            String k = "model.layers.%d.self_attn.k_proj.weight".formatted(layer);
            int[] rows = places(matrix(out, q), matrix(model, q));
            for (int head = 0; head < 2; head++) {
                int from = rows[head * a.headDim()] / a.headDim();
                assertThat(from / 2).as("KV head of head %d", head).isEqualTo(head);
                for (int d = 0; d < a.headDim(); d++) {
                    assertThat(rows[head * a.headDim() + d]).isEqualTo(from * a.headDim() + d);
                }
            }
            assertThat(matrix(out, k)).isDeepEqualTo(matrix(model, k));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"obs", "wanda", "activation"})
    void aKvHeadGoesWithItsQueryHeads(String importance) throws IOException {
        Path model = model(LLAMA);
        int dim = attention(TestModels.spec(model)).headDim();
        Path out = temp.resolve("out");
        width(model, Map.of("heads", 0.5, "kvGroups", 0.5, "importance", importance)).run(out);
        for (int layer = 0; layer < 2; layer++) {
            String p = "model.layers.%d.self_attn.".formatted(layer);
            int[] places = new int[3];
            for (int i = 0; i < 3; i++) {
                String name = p + List.of("q_proj", "k_proj", "v_proj").get(i) + ".weight";
                int[] rows = places(matrix(out, name), matrix(model, name));
                assertThat(rows).hasSize(dim);
                places[i] = rows[0] / dim;
            }
            assertThat(places[1]).isEqualTo(places[2]).isEqualTo(places[0] / 2);
        }
    }

    // ---------------------------------------------------------------- refit

    @ParameterizedTest
    @ValueSource(doubles = {0.01, 0.3})
    void theRefitIsPlainLeastSquares(double damping) throws IOException {
        Path model =
                EditedCheckpoint.writeF32(LLAMA, temp.resolve("model"), EditedCheckpoint.Edit.NONE);
        TestSweep sweep =
                width(
                        model,
                        Map.of(
                                "ffn",
                                24,
                                "multipleOf",
                                8,
                                "importance",
                                "wanda",
                                "damping",
                                damping));
        Path out = temp.resolve("out");
        ModuleReport report = TestSweep.report(sweep.run(out), DOWN);
        int[] kept = places(matrix(out, GATE), matrix(model, GATE));
        assertThat(kept).hasSize(24);
        double[][] h = Plain.gram(downInputs(sweep));
        double[][] w = matrix(model, DOWN + ".weight");
        double[][] want = Plain.refit(w, h, kept, damping);
        assertClose(matrix(out, DOWN + ".weight"), want);
        double norm = Plain.distance(w, new double[w.length][h.length], h);
        double error = Plain.distance(Plain.spread(want, kept, h.length), w, h) / norm;
        int[] all = IntStream.range(0, w.length).toArray();
        double[][] masked = Plain.spread(Plain.part(w, all, kept), kept, h.length);
        double uncompensated = Plain.distance(masked, w, h) / norm;
        assertThat((Double) report.values().get("relative_error"))
                .isCloseTo(error, within(1e-3 * error));
        assertThat((Double) report.values().get("uncompensated_error"))
                .isCloseTo(uncompensated, within(1e-3 * uncompensated));
        assertThat(error).isLessThan(0.9 * uncompensated);
        assertThat(report.values()).containsEntry("damping", damping);
    }

    private static void assertClose(double[][] got, double[][] want) {
        assertThat(got).hasDimensions(want.length, want[0].length);
        double size =
                Arrays.stream(want)
                        .flatMapToDouble(Arrays::stream)
                        .map(Math::abs)
                        .max()
                        .orElseThrow();
        for (int r = 0; r < want.length; r++) {
            for (int i = 0; i < want[r].length; i++) {
                assertThat(got[r][i])
                        .as("[%d, %d]", r, i)
                        .isCloseTo(want[r][i], within(1e-3 * size));
            }
        }
    }

    @Test
    void withoutRefitWhatStaysIsAsItWas() throws IOException {
        Path model = model(LLAMA);
        Path out = temp.resolve("out");
        SweepResult result =
                width(model, Map.of("ffn", 32, "multipleOf", 8, "refit", false)).run(out);
        int[] kept = places(matrix(out, GATE), matrix(model, GATE));
        double[][] w = matrix(model, DOWN + ".weight");
        int[] all = IntStream.range(0, w.length).toArray();
        assertThat(matrix(out, DOWN + ".weight")).isDeepEqualTo(Plain.part(w, all, kept));
        Map<String, Object> values = TestSweep.report(result, DOWN).values();
        assertThat(values.get("relative_error")).isEqualTo(values.get("uncompensated_error"));
    }

    @Test
    void aLayerOfZerosLosesNothing() throws IOException {
        Path model =
                EditedCheckpoint.write(
                        LLAMA, temp.resolve("model"), EditedCheckpoint.silence("_proj"), Map.of());
        SweepResult result =
                width(model, Map.of("ffn", 0.5, "heads", 0.5, "multipleOf", 8))
                        .run(temp.resolve("out"));
        assertThat(result.reports())
                .hasSize(4)
                .allSatisfy(r -> {
                    assertThat(r.warnings()).as(r.module()).hasSize(1);
                    assertThat(r.values())
                            .containsEntry("relative_error", 0.0)
                            .containsEntry("uncompensated_error", 0.0);
                });
    }

    // ---------------------------------------------------------------- experts

    @Test
    void everyExpertIsPrunedByItsOwnTokens() throws IOException {
        Path model = model(MIXTRAL);
        TestSweep sweep = width(model, Map.of("ffn", 0.5, "multipleOf", 8));
        Path out = temp.resolve("out");
        SweepResult result = sweep.run(out);
        long[] tokens = new long[4];
        try (HostModel host = new HostModel(model)) {
            windows(sweep.calibrationIds(), sweep.length())
                    .flatMap(w -> host.routed(w).stream())
                    .forEach(r -> tokens[r.expert()]++);
        }
        String experts = "model.layers.0.block_sparse_moe.experts.";
        List<List<Integer>> kept = new ArrayList<>();
        for (int e = 0; e < 4; e++) {
            ModuleReport report = TestSweep.report(result, experts + e + ".w2");
            assertThat(((Number) report.values().get("tokens")).longValue()).isEqualTo(tokens[e]);
            assertThat(report.warnings()).isEmpty();
            String gate = experts + e + ".w1.weight";
            String up = experts + e + ".w3.weight";
            int[] rows = places(matrix(out, gate), matrix(model, gate));
            assertThat(places(matrix(out, up), matrix(model, up))).isEqualTo(rows);
            kept.add(Arrays.stream(rows).boxed().toList());
        }
        assertThat(Set.copyOf(kept)).as("channels of four experts").hasSize(4);
    }

    @ParameterizedTest
    @ValueSource(strings = {"obs", "activation"})
    void anExpertWithoutTokensIsNamed(String importance) throws IOException {
        Path model =
                EditedCheckpoint.write(
                        MIXTRAL, temp.resolve("model"), ExpertsPassTest::neverTheLast, Map.of());
        SweepResult result =
                width(model, Map.of("ffn", 16, "multipleOf", 8, "importance", importance))
                        .run(temp.resolve("out"));
        for (int layer = 0; layer < 2; layer++) {
            String expert = "model.layers.%d.block_sparse_moe.experts.3.w2".formatted(layer);
            assertThat(TestSweep.report(result, expert).warnings())
                    .containsExactly(
                            "saw no calibration token; what its weights say least for went,"
                                    + " unrefitted");
        }
        assertThat(result.reports())
                .filteredOn(r -> !r.warnings().isEmpty())
                .extracting(ModuleReport::module)
                .allMatch(name -> name.contains(".experts.3."));
    }

    // ---------------------------------------------------------------- the same bytes

    @ParameterizedTest
    @CsvSource({"tiny-llama, obs", "tiny-llama, activation", "tiny-mixtral, obs"})
    void nothingThatHappensChangesAByte(String name, String importance) throws IOException {
        Map<String, Object> options =
                Map.of(
                        "ffn",
                        0.5,
                        "heads",
                        0.5,
                        "kvGroups",
                        0.5,
                        "multipleOf",
                        8,
                        "importance",
                        importance);
        width(model(TestFiles.testdata().resolve(name)), options)
                .assertSameBytesWhateverHappens(temp, 0, 1);
    }

    // ---------------------------------------------------------------- refusals

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "tiny-llama|ffn=65|{ffn} 65 is more than the 64 channels there are|ask for fewer",
                "tiny-llama|ffn=0.9,multipleOf=16|{ffn} 0.9 of 64 channels is 64 when rounded to a"
                        + " multiple of 16, so nothing would go|lower {multipleOf}",
                "tiny-llama|ffn=0.5|{ffn} 0.5 of 64 channels is 64 when rounded to a multiple of"
                        + " 64, so nothing would go|lower {multipleOf}",
                "tiny-llama|heads=3|{heads} 3 does not leave equally many, 1 to 2, for each of 2 KV"
                        + " heads|ask for a multiple of 2 up to 4",
                "tiny-llama|heads=6|{heads} 6 does not leave equally many, 1 to 2, for each of 2 KV"
                        + " heads|ask for a multiple of 2 up to 4",
                "tiny-llama|heads=0.9|{heads} 0.9 of the 2 heads of each KV head is 2 when rounded,"
                        + " so nothing would go|ask for fewer",
                "tiny-llama|kvGroups=3|{kvGroups} 3 is more than the 2 KV heads there are"
                        + "|ask for fewer",
                "tiny-llama|kvGroups=0.1|{kvGroups} 0.1 of 2 KV heads is 0 when rounded|ask for"
                        + " more",
                "tiny-llama|kvGroups=0.9|{kvGroups} 0.9 of 2 KV heads is 2 when rounded, so"
                        + " nothing would go|ask for fewer",
                "tiny-gpt2|heads=0.5|the number of attention heads of a gpt2 cannot change: its"
                        + " readers take the size of a head to be the hidden size by heads|choose"
                        + " another method for this model",
                "tiny-gpt2|heads=0.5,kvGroups=0.5|{heads} and {kvGroups} are the same thing where"
                        + " every head has its own KV head|give one of them",
                "tiny-mamba|ffn=0.5|{ffn}: blocks have no feed-forward: 72 channels with states of"
                        + " 12|choose another method for this model",
                "tiny-mamba|heads=0.5|{heads}: blocks have no KV heads of their own that could go:"
                        + " 72 channels with states of 12|choose another method for this model",
            })
    void refuses(String name, String options, String message, String hint) throws IOException {
        Path model = model(TestFiles.testdata().resolve(name));
        assertThatThrownBy(() -> width(model, parsed(options)).run(temp.resolve("out")))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e).hasMessage(message);
                            assertThat(e.hint()).isEqualTo(hint);
                        });
        assertThat(temp.resolve("out")).doesNotExist();
    }

    private static Map<String, Object> parsed(String options) {
        return options.isEmpty()
                ? Map.of()
                : Arrays.stream(options.split(",", -1))
                        .map(option -> option.split("=", 2))
                        .collect(Collectors.toMap(o -> o[0], o -> o[1]));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "''|width needs ffn, heads or kvGroups: what stays of them",
                "multipleOf=8|width needs ffn, heads or kvGroups: what stays of them",
                "ffn=2.0|ffn is 2.0, expected a part up to 1, as 0.75, or a number of them",
                "ffn=1.5|ffn is 1.5, expected a part up to 1, as 0.75, or a number of them",
                "ffn=0|ffn is 0, expected a part up to 1, as 0.75, or a number of them",
                "heads=-1|heads is -1, expected a part up to 1, as 0.75, or a number of them",
                "kvGroups=NaN|kvGroups is NaN, expected a number",
                "ffn=Infinity|ffn is Infinity, expected a number",
                "ffn=half|ffn is half, expected a number",
                "ffn=0.5,damping=1|damping is 1.0, expected 0 to 1",
                "ffn=0.5,rounds=0|rounds and multipleOf must be positive",
                "ffn=0.5,importance=best|importance is best, expected one of activation, wanda,"
                        + " obs",
                "ffn=0.5,head=2|unknown key head; did you mean heads?",
            })
    void badOptionsAreNamed(String options, String message) throws IOException {
        TestSweep sweep = width(model(LLAMA), parsed(options));
        assertThatThrownBy(sweep::recipe)
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(message);
    }
}
