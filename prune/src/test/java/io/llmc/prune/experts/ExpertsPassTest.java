// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.experts;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.prune.EditedCheckpoint;
import io.llmc.prune.HostModel;
import io.llmc.prune.TestSweep;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// REAP on tiny mixtures of experts.
public class ExpertsPassTest {
    private static final Path MIXTRAL = TestFiles.testdata().resolve("tiny-mixtral");
    private static final String MOE = "model.layers.%d.block_sparse_moe.";
    private static final String GATE = MOE.formatted(0) + "gate";

    @TempDir Path temp;

    static Stream<Path> mixtures() {
        return Stream.of(MIXTRAL, TestFiles.shared("oracles/architectures/mixtral"))
                .filter(Files::isDirectory);
    }

    private Path model(Path source) throws IOException {
        return EditedCheckpoint.withTokenizer(source, temp.resolve("model"));
    }

    private static TestSweep experts(Path model, int keep) {
        return TestSweep.of(model, "experts", Map.of("keep", keep));
    }

    @SuppressWarnings("unchecked") // what the pass reports
    private static <T> List<T> list(ModuleReport report, String key) {
        return (List<T>) report.values().get(key);
    }

    @Test
    void saliencyIsThatOfThePlainFormulas() throws IOException {
        Path model = model(MIXTRAL);
        ModuleReport report = TestSweep.report(experts(model, 2).run(temp.resolve("out")), GATE);
        double[] sums = new double[4];
        long[] tokens = new long[4];
        int[] ids = TestSweep.ids(model);
        try (HostModel host = new HostModel(model)) {
            for (int w = 0; w < ids.length; w += TestSweep.LENGTH) {
                for (HostModel.Routed r :
                        host.routed(Arrays.copyOfRange(ids, w, w + TestSweep.LENGTH))) {
                    sums[r.expert()] += r.gate() * r.norm();
                    tokens[r.expert()]++;
                }
            }
        }
        List<Double> saliency = list(report, "saliency");
        for (int e = 0; e < 4; e++) {
            double want = sums[e] / tokens[e];
            assertThat(saliency.get(e)).as("expert %d", e).isCloseTo(want, within(1e-5 * want));
        }
        assertThat(list(report, "tokens")).containsExactly(Arrays.stream(tokens).boxed().toArray());
        List<Integer> best =
                IntStream.range(0, 4)
                        .boxed()
                        .sorted(Comparator.comparingDouble(e -> -sums[e] / tokens[e]))
                        .limit(2)
                        .sorted()
                        .toList();
        assertThat(list(report, "kept")).isEqualTo(best);
        assertThat(Stream.of("kept", "dropped").flatMap(key -> list(report, key).stream()))
                .containsExactlyInAnyOrder(0, 1, 2, 3);
    }

    @ParameterizedTest
    @MethodSource("mixtures")
    void whatStaysIsUntouchedAndInItsOrder(Path source) throws IOException {
        Path model = model(source);
        Path out = temp.resolve("out");
        SweepResult result = experts(model, 3).run(out);
        Map<String, byte[]> before = EditedCheckpoint.bytes(model);
        Map<String, byte[]> after = EditedCheckpoint.bytes(out);
        assertThat(result.verifiedTensors()).isEqualTo(after.size());
        int experts;
        try (Checkpoint c = Checkpoint.open(model);
                Checkpoint o = Checkpoint.open(out)) {
            experts = c.config().integer("num_local_experts");
            assertThat(o.config().integer("num_local_experts")).isEqualTo(3);
            assertThat(o.info(GATE + ".weight").shape().dims())
                    .containsExactly(3, c.config().integer("hidden_size"));
        }
        for (int layer = 0; layer < 2; layer++) {
            String moe = MOE.formatted(layer);
            List<Integer> kept = list(TestSweep.report(result, moe + "gate"), "kept");
            assertThat(kept).hasSize(3).isSorted();
            byte[] router = before.remove(moe + "gate.weight");
            int row = router.length / experts;
            for (int i = 0; i < 3; i++) {
                for (String part : List.of(".w1.weight", ".w2.weight", ".w3.weight")) {
                    assertThat(after.remove(moe + "experts." + i + part))
                            .isEqualTo(before.get(moe + "experts." + kept.get(i) + part));
                }
                assertThat(
                                Arrays.copyOfRange(
                                        after.get(moe + "gate.weight"), i * row, i * row + row))
                        .isEqualTo(
                                Arrays.copyOfRange(
                                        router, kept.get(i) * row, kept.get(i) * row + row));
            }
            after.remove(moe + "gate.weight");
            before.keySet().removeIf(name -> name.startsWith(moe));
        }
        assertThat(after.keySet()).isEqualTo(before.keySet());
        after.forEach((name, bytes) -> assertThat(bytes).as(name).isEqualTo(before.get(name)));
    }

    /// Router rows 0, d, -d, 0: one of the second and third wins, and the first wins the tie for
    /// the second place, so that the last expert is never chosen.
    public static byte[][] neverTheLast(String name, byte[][] rows) {
        if (name.endsWith("block_sparse_moe.gate.weight")) {
            byte[] minus = rows[1].clone();
            for (int i = 1; i < minus.length; i += 2) {
                minus[i] ^= (byte) 0x80;
            }
            byte[] zero = new byte[minus.length];
            return new byte[][] {zero, rows[1], minus, zero};
        }
        return name.contains(".experts.3.w2.")
                ? EditedCheckpoint.map(rows, r -> new byte[r.length])
                : rows;
    }

    @Test
    void anExpertThatIsNeverChosenGoesFirstAndNothingChanges() throws IOException {
        Path model =
                EditedCheckpoint.write(
                        MIXTRAL, temp.resolve("model"), ExpertsPassTest::neverTheLast, Map.of());
        Path out = temp.resolve("out");
        ModuleReport report = TestSweep.report(experts(model, 3).run(out), GATE);
        assertThat(list(report, "dropped")).containsExactly(3);
        assertThat((List<Double>) ExpertsPassTest.<Double>list(report, "saliency")).endsWith(0.0);
        assertThat(report.warnings())
                .containsExactly(
                        "no calibration token was routed to expert 3; such experts are dropped"
                                + " first");
        // The gates' softmax has a term less, so its last bits may differ.
        assertThat(TestSweep.worst(TestSweep.logits(out), TestSweep.logits(model)))
                .isLessThan(1e-5);
    }

    @Test
    void aSilentExpertGoesBeforeOneThatSpeaks() throws IOException {
        Path model =
                EditedCheckpoint.write(
                        MIXTRAL,
                        temp.resolve("model"),
                        EditedCheckpoint.silence(".experts.1.w2."),
                        Map.of());
        ModuleReport report = TestSweep.report(experts(model, 3).run(temp.resolve("out")), GATE);
        assertThat(list(report, "dropped")).containsExactly(1);
        assertThat(report.warnings()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void threadsDoNotChangeABit(int threads) throws IOException {
        TestSweep sweep = experts(model(MIXTRAL), 3);
        sweep.run(temp.resolve("two"));
        sweep.run(temp.resolve("other"), threads, Integer.MAX_VALUE);
        assertThat(TestSweep.files(temp.resolve("other")))
                .isEqualTo(TestSweep.files(temp.resolve("two")));
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void aRunThatDiedAfterABlockContinuesThere(int blocks) throws IOException {
        TestSweep sweep = experts(model(MIXTRAL), 2);
        sweep.run(temp.resolve("whole"));
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> sweep.run(out, 2, blocks)).isInstanceOf(TestSweep.Killed.class);
        assertThat(sweep.run(out).resumedBlocks()).isEqualTo(blocks + 1);
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(temp.resolve("whole")));
    }

    static Stream<List<Map<String, Object>>> companions() {
        Map<String, Object> experts = Map.of("experts", Map.of("keep", 3));
        Map<String, Object> wanda = Map.of("wanda", Map.of("sparsity", 0.5));
        return Stream.of(List.of(experts, wanda), List.of(wanda, experts));
    }

    @ParameterizedTest
    @MethodSource("companions")
    void sharesASweepWithWanda(List<Map<String, Object>> passes) throws IOException {
        Path out = temp.resolve("out");
        SweepResult result = new TestSweep(model(MIXTRAL), passes).run(out);
        assertThat(ExpertsPassTest.<Integer>list(TestSweep.report(result, GATE), "kept"))
                .hasSize(3);
        Map<String, byte[]> after = EditedCheckpoint.bytes(out);
        for (int e = 0; e < 3; e++) {
            byte[] down = after.get(MOE.formatted(1) + "experts." + e + ".w2.weight");
            long zeros =
                    IntStream.range(0, down.length / 2)
                            .filter(i -> down[2 * i] == 0 && (down[2 * i + 1] & 0x7f) == 0)
                            .count();
            assertThat(zeros).as("expert %d", e).isEqualTo(down.length / 4);
        }
        assertThat(after.keySet()).noneMatch(name -> name.contains(".experts.3."));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "tiny-mixtral|0|keep is 0, expected at least 1|keep 2 to 3",
                "tiny-mixtral|-1|keep is -1, expected at least 1|keep 2 to 3",
                "tiny-mixtral|1|top-k exceeds what is kept: each token goes to 2 experts, keep is 1"
                        + "|keep 2 to 3",
                "tiny-mixtral|4|keep is 4, but there are no more than 4 experts|keep 2 to 3",
                "tiny-llama|2|a llama has no experts|choose another method for this model",
                "tiny-gpt2|2|a gpt2 has no experts|choose another method for this model",
            })
    void refuses(String name, int keep, String message, String hint) throws IOException {
        Path model = model(TestFiles.testdata().resolve(name));
        assertThatThrownBy(() -> experts(model, keep).run(temp.resolve("out")))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e).hasMessage(message);
                            assertThat(e.hint()).isEqualTo(hint);
                        });
        assertThat(temp.resolve("out")).doesNotExist();
    }

    @Test
    void keepMustBeGiven() throws IOException {
        TestSweep sweep = TestSweep.of(model(MIXTRAL), "experts", Map.of());
        assertThatThrownBy(() -> sweep.run(temp.resolve("out")))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("keep is missing");
    }
}
