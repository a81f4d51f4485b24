// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.Solver;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.Targets;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.prune.EditedCheckpoint;
import io.llmc.prune.HostModel;
import io.llmc.prune.TestSweep;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Mean pooling of KV heads: separate and fused projections, biases, norms over heads.
class KvHeadsPassTest {
    private static final Path LLAMA = TestFiles.testdata().resolve("tiny-llama");
    private static final String ATTENTION = "model.layers.0.self_attn.";

    @TempDir Path temp;

    /// Models whose number of KV heads may change and can become half of what it is, or is made
    /// twice what it is.
    static Stream<Path> models() {
        Path oracles = TestFiles.shared("oracles/architectures");
        return Stream.concat(
                        Stream.of("llama", "mixtral", "qwen3", "phi3", "gemma3_text")
                                .map(name -> TestFiles.testdata().resolve("tiny-" + name)),
                        Stream.of("qwen2", "llama", "llama_bias", "mistral", "phi3")
                                .map(oracles::resolve))
                .filter(Files::isDirectory);
    }

    static Stream<Path> modelsWithSeveral() {
        return models().filter(model -> attention(model).kvHeads() > 1);
    }

    static Stream<Path> modelsWithRoomForMore() {
        return models().filter(model -> attention(model).kvHeads() < attention(model).heads());
    }

    private static SelfAttentionSpec attention(Path model) {
        try (Checkpoint c = Checkpoint.open(model)) {
            return Architectures.specOf(c)
                    .layers()
                    .getFirst()
                    .body(SelfAttentionSpec.class)
                    .orElseThrow();
        }
    }

    private Path model(Path source) throws IOException {
        return EditedCheckpoint.withTokenizer(source, temp.resolve("model"));
    }

    private static TestSweep kvHeads(Path model, int to, boolean weighted) {
        return TestSweep.of(model, "kv-heads", Map.of("to", to, "weighted", weighted));
    }

    /// Puts other heads in the place of those of K and V.
    ///
    /// @param heads for each head of the result the one that it was
    private static EditedCheckpoint.Edit withHeads(SelfAttentionSpec a, int... heads) {
        return (name, rows) -> {
            boolean fused = name.contains(".qkv_proj.");
            if (!fused && !name.contains(".k_proj.") && !name.contains(".v_proj.")) {
                return rows;
            }
            Stream<byte[]> result = Stream.of(rows).limit(fused ? a.queryWidth() : 0);
            for (int at = fused ? a.queryWidth() : 0; at < rows.length; at += a.keyWidth()) {
                int from = at;
                result =
                        Stream.concat(
                                result,
                                IntStream.of(heads)
                                        .boxed()
                                        .flatMap(head ->
                                                IntStream.range(0, a.headDim())
                                                        .mapToObj(d ->
                                                                rows[
                                                                        from
                                                                                + head * a.headDim()
                                                                                + d])));
            }
            return result.toArray(byte[][]::new);
        };
    }

    private static int[] each(int heads, int times) {
        return IntStream.range(0, heads * times).map(h -> h / times).toArray();
    }

    @ParameterizedTest
    @MethodSource("modelsWithSeveral")
    void equalHeadsPoolToThemselves(Path source) throws IOException {
        SelfAttentionSpec a = attention(source);
        int to = a.kvHeads() / 2;
        // Heads 0, 0, 2, 2.
        int[] pairs = IntStream.range(0, a.kvHeads()).map(h -> h / 2 * 2).toArray();
        Path model =
                EditedCheckpoint.write(
                        source, temp.resolve("model"), withHeads(a, pairs), Map.of());
        Path out = temp.resolve("out");
        SweepResult result = kvHeads(model, to, false).run(out);
        assertThat(result.verifiedTensors()).isPositive();
        assertThat(attention(out).kvHeads()).isEqualTo(to);
        assertThat(attention(out).headDim()).isEqualTo(a.headDim());
        assertThat(TestSweep.worst(TestSweep.logits(out), TestSweep.logits(model)))
                .isLessThan(1e-5);
    }

    @ParameterizedTest
    @MethodSource("modelsWithRoomForMore")
    void repeatedHeadsPoolToTheModelThatWas(Path source) throws IOException {
        SelfAttentionSpec a = attention(source);
        Path model =
                EditedCheckpoint.write(
                        source,
                        temp.resolve("model"),
                        withHeads(a, each(a.kvHeads(), 2)),
                        Map.of("num_key_value_heads", 2 * a.kvHeads()));
        Path out = temp.resolve("out");
        kvHeads(model, a.kvHeads(), false).run(out);
        Map<String, byte[]> before = EditedCheckpoint.bytes(source);
        Map<String, byte[]> after = EditedCheckpoint.bytes(out);
        assertThat(after.keySet()).isEqualTo(before.keySet());
        after.forEach((name, bytes) -> assertThat(bytes).as(name).isEqualTo(before.get(name)));
    }

    @ParameterizedTest
    @MethodSource("modelsWithSeveral")
    void everyHeadIsTheMeanOfItsNeighbours(Path source) throws IOException {
        SelfAttentionSpec a = attention(source);
        Path model = model(source);
        Path out = temp.resolve("out");
        kvHeads(model, 1, false).run(out);
        try (HostModel before = new HostModel(model);
                HostModel after = new HostModel(out);
                Checkpoint c = Checkpoint.open(model)) {
            for (String name : c.names()) {
                double[][] old = before.matrix(name);
                boolean fused = name.contains(".qkv_proj.");
                boolean pooled = fused || name.contains(".k_proj.") || name.contains(".v_proj.");
                if (!pooled) {
                    assertThat(after.matrix(name)).as(name).isDeepEqualTo(old);
                    continue;
                }
                double[][] want = mean(old, fused ? a.queryWidth() : 0, a);
                double[][] got = after.matrix(name);
                assertThat(got).as(name).hasDimensions(want.length, want[0].length);
                for (int r = 0; r < want.length; r++) {
                    for (int i = 0; i < want[r].length; i++) {
                        // A half of the last place of bf16's eight bits.
                        assertThat(got[r][i])
                                .isCloseTo(want[r][i], within(Math.abs(want[r][i]) / 250));
                    }
                }
            }
        }
    }

    /// All heads of K in one, and so of V where it follows.
    private static double[][] mean(double[][] rows, int queries, SelfAttentionSpec a) {
        int parts = (rows.length - queries) / a.keyWidth();
        double[][] mean = new double[queries + parts * a.headDim()][rows[0].length];
        System.arraycopy(rows, 0, mean, 0, queries);
        for (int r = queries; r < rows.length; r++) {
            int part = (r - queries) / a.keyWidth();
            double[] to = mean[queries + part * a.headDim() + (r - queries) % a.headDim()];
            for (int i = 0; i < to.length; i++) {
                to[i] += rows[r][i] / a.kvHeads();
            }
        }
        return mean;
    }

    @Test
    void sharesAreTheHeadsPartsOfTheActivity() throws IOException {
        Path source = TestFiles.shared("oracles/architectures/qwen2");
        Path model = model(Files.isDirectory(source) ? source : LLAMA);
        Path out = temp.resolve("out");
        SweepResult result = kvHeads(model, 1, true).run(out);
        int[] ids = TestSweep.ids(model);
        try (HostModel before = new HostModel(model);
                HostModel after = new HostModel(out)) {
            double[][] inputs = before.attentionInputs(ids);
            for (String name : List.of(ATTENTION + "k_proj", ATTENTION + "v_proj")) {
                double[] activity = new double[2];
                for (double[] x : inputs) {
                    double[] y = before.linear(name, x);
                    for (int i = 0; i < y.length; i++) {
                        activity[i / (y.length / 2)] += y[i] * y[i];
                    }
                }
                double first = activity[0] / (activity[0] + activity[1]);
                List<Double> shares = shares(TestSweep.report(result, name));
                assertThat(shares).hasSize(2);
                assertThat(shares.get(0)).isCloseTo(first, within(1e-5));
                assertThat(shares.get(1)).isCloseTo(1 - first, within(1e-5));
                double[][] old = before.matrix(name + ".weight");
                double[][] got = after.matrix(name + ".weight");
                for (int r = 0; r < got.length; r++) {
                    for (int i = 0; i < got[r].length; i++) {
                        double want = first * old[r][i] + (1 - first) * old[r + got.length][i];
                        assertThat(got[r][i]).isCloseTo(want, within(Math.abs(want) / 200 + 1e-6));
                    }
                }
            }
        }
    }

    @SuppressWarnings("unchecked") // what the pass reports
    private static List<Double> shares(ModuleReport report) {
        return (List<Double>) report.values().get("shares");
    }

    /// The shares of K come before those of V where one layer has both.
    @Test
    void fusedHeadsHaveSharesOfTheirOwn() throws IOException {
        SweepResult result =
                kvHeads(model(TestFiles.testdata().resolve("tiny-phi3")), 1, true)
                        .run(temp.resolve("out"));
        List<Double> shares = shares(TestSweep.report(result, ATTENTION + "qkv_proj"));
        assertThat(shares).hasSize(4).allMatch(s -> s > 0 && s < 1);
        assertThat(shares.get(0) + shares.get(1)).isCloseTo(1, within(1e-6));
        assertThat(shares.get(2) + shares.get(3)).isCloseTo(1, within(1e-6));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void threadsDoNotChangeABit(int threads) throws IOException {
        TestSweep sweep = kvHeads(model(LLAMA), 1, true);
        sweep.run(temp.resolve("two"));
        sweep.run(temp.resolve("other"), threads, Integer.MAX_VALUE);
        assertThat(TestSweep.files(temp.resolve("other")))
                .isEqualTo(TestSweep.files(temp.resolve("two")));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aRunThatDiedAfterABlockContinuesThere(boolean weighted) throws IOException {
        TestSweep sweep = kvHeads(model(LLAMA), 1, weighted);
        sweep.run(temp.resolve("whole"));
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> sweep.run(out, 2, 0)).isInstanceOf(TestSweep.Killed.class);
        assertThat(sweep.run(out).resumedBlocks()).isEqualTo(1);
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(temp.resolve("whole")));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void sharesASweepWithOthers(boolean weighted) throws IOException {
        Path out = temp.resolve("out");
        List<Map<String, Object>> passes =
                List.of(
                        Map.of("kv-heads", Map.of("to", 1, "weighted", weighted)),
                        Map.of("experts", Map.of("keep", 2)),
                        Map.of("wanda", Map.of("sparsity", 0.25)));
        new TestSweep(model(TestFiles.testdata().resolve("tiny-mixtral")), passes).run(out);
        try (Checkpoint c = Checkpoint.open(out)) {
            assertThat(c.config().integer("num_key_value_heads")).isEqualTo(1);
            assertThat(c.config().integer("num_local_experts")).isEqualTo(2);
            assertThat(c.config().integer("head_dim")).isEqualTo(16);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"kv-heads", "kv_heads", "kvHeads"})
    void isFoundUnderEverySpelling(String key) throws IOException {
        TestSweep sweep = TestSweep.of(model(LLAMA), key, Map.of("to", 1));
        assertThat(sweep.run(temp.resolve("out")).reports())
                .extracting(r -> r.values().get("method"))
                .containsOnly("kv-heads");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "tiny-llama|0|to is 0, expected at least 1|these do: 1",
                "tiny-llama|2|to is 2, but there are no more than 2 KV heads|these do: 1",
                "tiny-gemma3_text|1|to is 1, but there are no more than 1 KV heads"
                        + "|this model cannot have fewer",
                "tiny-gpt2|3|3 does not divide the 4 KV heads|these do: 1, 2",
                "tiny-gpt2|2|the number of KV heads of a gpt2 cannot change: its readers take the"
                        + " size of a head to be the hidden size by heads"
                        + "|choose another method for this model",
            })
    void refuses(String name, int to, String message, String hint) throws IOException {
        Path model = model(TestFiles.testdata().resolve(name));
        assertThatThrownBy(() -> kvHeads(model, to, false).run(temp.resolve("out")))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e).hasMessage(message);
                            assertThat(e.hint()).isEqualTo(hint);
                        });
        assertThat(temp.resolve("out")).doesNotExist();
    }

    /// Stands for a pass that leaves its weights on a grid.
    private record Rounding() implements BlockPass {
        @Override
        public long workBytes(long out, long in) {
            return 0;
        }

        @Override
        public String name() {
            return "rounding";
        }

        @Override
        public boolean calibrates() {
            return false;
        }

        @Override
        public SequencedMap<String, Object> describe() {
            return new LinkedHashMap<>();
        }

        @Override
        public Targets targets() {
            return Targets.ALL;
        }

        @Override
        public Optional<Scheme> scheme(LinearSpec linear) {
            return Optional.of(Scheme.of(Encoding.ints(4, 16, true)));
        }

        @Override
        public Optional<Solver> solver() {
            return Optional.of(new Solver("rtn", 0, Solver.Order.STORED, false, false));
        }

        @Override
        public void apply(BlockScope scope) {}
    }

    @Test
    void comesBeforeWhatRounds() throws IOException {
        Path model = model(LLAMA);
        Recipe recipe = kvHeads(model, 1, false).recipe();
        SweepStep late =
                new SweepStep(List.of(), List.of(new Rounding(), new KvHeadsPass(1, false)));
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            Step.Context context =
                    TestSweep.context(recipe, model, temp, backend, Long.MAX_VALUE, Progress.NONE);
            assertThatThrownBy(() -> late.plan(context))
                    .isInstanceOf(UserException.class)
                    .hasMessage(
                            "kv-heads changes the model's sizes, so it must stand before rounding");
        }
    }

    @Test
    void toMustBeGiven() throws IOException {
        TestSweep sweep = TestSweep.of(model(LLAMA), "kv-heads", Map.of());
        assertThatThrownBy(() -> sweep.run(temp.resolve("out")))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("to is missing");
    }
}
