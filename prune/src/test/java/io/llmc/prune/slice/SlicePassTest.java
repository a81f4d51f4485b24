// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.slice;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.safetensors.TensorFile;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.rotation.RotatedModel;
import io.llmc.pipeline.rotation.Rotation;
import io.llmc.pipeline.rotation.Untied;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.prune.CountingBackend;
import io.llmc.prune.EditedCheckpoint;
import io.llmc.prune.HostModel;
import io.llmc.prune.Plain;
import io.llmc.prune.PlainForward;
import io.llmc.prune.TestModels;
import io.llmc.prune.TestSweep;
import io.llmc.prune.WordTokenizer;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// One rotation for the whole stream, and what is left when the stream is cut.
class SlicePassTest {
    private static final Path LLAMA = TestFiles.testdata().resolve("tiny-llama");
    private static final Path QWEN3 = TestFiles.testdata().resolve("tiny-qwen3");
    private static final EditedCheckpoint.Edit AS_IT_IS = EditedCheckpoint.Edit.NONE;

    @TempDir Path temp;

    /// Models that can be rotated.
    static Stream<Path> models() {
        return TestModels.all()
                .filter(m ->
                        !Files.exists(m.resolve("config.json"))
                                || SlicePass.obstacle(TestModels.spec(m)) == null);
    }

    @Test
    void layerNormsCannotBeRotated() {
        assertThat(SlicePass.obstacle(TestModels.spec(TestFiles.testdata().resolve("tiny-gpt2"))))
                .isEqualTo(
                        "its LayerNorms subtract the mean over channels, which a rotation mixes");
    }

    @Test
    void familiesWithRmsNormsBeforeTheirBodiesCanBeRotated() {
        assertThat(TestModels.tiny().filter(m -> SlicePass.obstacle(TestModels.spec(m)) == null))
                .extracting(m -> m.getFileName().toString())
                .containsExactly("tiny-llama", "tiny-mixtral", "tiny-phi3", "tiny-qwen3");
    }

    private Path model(Path source) throws IOException {
        return EditedCheckpoint.withTokenizer(source, temp.resolve("model"));
    }

    private static TestSweep slice(Path model, int hidden) {
        return TestSweep.of(model, "slice", Map.of("hidden", hidden)).on(12, 16);
    }

    // ---------------------------------------------------------------- rotation

    /// Gram and Schmidt on random rows, twice, so that F64 is used up.
    private static double[][] orthonormal(int n) {
        Random random = new Random(n);
        double[][] q = new double[n][];
        for (int k = 0; k < n; k++) {
            double[] row = random.doubles(n, -1, 1).toArray();
            for (int again = 0; again < 2; again++) {
                for (int j = 0; j < k; j++) {
                    double dot = dot(row, q[j]);
                    for (int i = 0; i < n; i++) {
                        row[i] -= dot * q[j][i];
                    }
                }
            }
            double norm = Math.sqrt(dot(row, row));
            q[k] = Arrays.stream(row).map(v -> v / norm).toArray();
        }
        return q;
    }

    private static double dot(double[] a, double[] b) {
        return IntStream.range(0, a.length).mapToDouble(i -> a[i] * b[i]).sum();
    }

    private static float[] rotatedLogits(Path model) {
        ModelSpec spec = TestModels.spec(model);
        int d = spec.hidden();
        int[] ids = WordTokenizer.ids(16, spec.vocabulary());
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Checkpoint c = Checkpoint.open(model)) {
            Checkpoint untied = Untied.of(c);
            RotatedModel rotation =
                    new RotatedModel(backend, untied, Rotation.of(orthonormal(d), d), List.of());
            Checkpoint rotated =
                    untied.derived(new SlicePass(d).config(c, spec), rotation.infos(), rotation);
            return PlainForward.of(rotated, null, Windows.of(ids, 16)).logits();
        }
    }

    private static double size(float[] logits) {
        double max = 0;
        for (float logit : logits) {
            max = Math.max(max, Math.abs(logit));
        }
        return max;
    }

    /// Rotated weights are rounded to F32 and sums have another order: 1e-5 of the largest logit.
    @ParameterizedTest
    @MethodSource("models")
    void aRotationAloneChangesNothing(Path source) throws IOException {
        TestModels.require(source);
        Path model = EditedCheckpoint.writeF32(source, temp.resolve("model"), AS_IT_IS);
        float[] logits = TestSweep.logits(model);
        assertThat(TestSweep.worst(rotatedLogits(model), logits) / size(logits)).isLessThan(1e-5);
    }

    /// Weights of eight bits, rounded once more: 5e-2 of the largest logit.
    @ParameterizedTest
    @MethodSource("models")
    void aRotationOfHalvesChangesTheirRounding(Path source) throws IOException {
        TestModels.require(source);
        float[] logits = TestSweep.logits(source);
        assertThat(TestSweep.worst(rotatedLogits(source), logits) / size(logits)).isLessThan(5e-2);
    }

    // ---------------------------------------------------------------- slicing

    @ParameterizedTest
    @MethodSource("models")
    void everyFamilyBecomesNarrower(Path source) throws IOException {
        TestModels.require(source);
        Path model = model(source);
        ModelSpec before = TestModels.spec(model);
        int hidden = before.hidden() - 8;
        Path out = temp.resolve("out");
        SweepResult result = slice(model, hidden).run(out);
        try (Checkpoint c = Checkpoint.open(out);
                Checkpoint original = Checkpoint.open(model)) {
            ModelSpec after = Architectures.specOf(c);
            assertThat(result.verifiedTensors()).isEqualTo(c.names().size());
            assertThat(after.tied()).isFalse();
            assertThat(c.config().flag("tie_word_embeddings", true)).isFalse();
            assertThat(c.config().integer("hidden_size")).isEqualTo(hidden);
            int dim = headDim(before.layers().getFirst());
            assertThat(c.config().integer("head_dim")).isEqualTo(dim);
            for (String name : List.of("model.embed_tokens.weight", "lm_head.weight")) {
                assertThat(c.info(name).shape().dims())
                        .as(name)
                        .containsExactly(before.vocabulary(), hidden);
            }
            for (LayerSpec layer : after.layers()) {
                for (LinearSpec linear : layer.linears(hidden)) {
                    assertThat(c.info(linear.name() + ".weight").shape().dims())
                            .as(linear.name())
                            .containsExactly(linear.out(), linear.in());
                }
                String norm = layer.branches().getFirst().pre().name();
                assertThat(c.info(norm + ".weight").shape().dims()).containsExactly(hidden);
                assertThat(headDim(layer)).isEqualTo(dim);
            }
            assertThat(c.names()).containsAll(original.names());
        }
        ModuleReport report = TestSweep.report(result, "model");
        assertThat((Double) report.values().get("variance_kept")).isBetween(0.5, 1.0);
        assertThat(report.values())
                .containsEntry("kept", "%d of %d channels".formatted(hidden, before.hidden()))
                .containsEntry("tokens", 12L * 16);
        int heads = before.layers().getFirst().count(Size.HEADS);
        int expected = (before.tied() ? 1 : 0) + (hidden % heads == 0 ? 0 : 1);
        assertThat(report.warnings()).hasSize(expected);
    }

    private static int headDim(LayerSpec layer) {
        return layer.body(SelfAttentionSpec.class).orElseThrow().headDim();
    }

    /// Silences the last channels of the stream: rows of what writes to it, columns of the
    /// embedding.
    private static EditedCheckpoint.Edit silent(ModelSpec spec, int channels) {
        return (name, rows) -> {
            boolean embedding = name.equals(spec.embedding() + ".weight");
            boolean writer =
                    Stream.of("o_proj", "down_proj", "w2").anyMatch(w -> name.contains(w + "."));
            byte[][] edited = rows;
            if (embedding) {
                edited =
                        EditedCheckpoint.map(
                                rows,
                                row -> {
                                    byte[] copy = row.clone();
                                    int from = row.length - 4 * channels;
                                    Arrays.fill(copy, from, row.length, (byte) 0);
                                    return copy;
                                });
            } else if (writer) {
                edited = rows.clone();
                for (int r = rows.length - channels; r < rows.length; r++) {
                    edited[r] = new byte[rows[r].length];
                }
            }
            return edited;
        };
    }

    /// Where the stream fills a part of its channels, the others go without a trace.
    @ParameterizedTest
    @MethodSource("models")
    void channelsThatTheStreamDoesNotFillGoWithoutATrace(Path source) throws IOException {
        TestModels.require(source);
        ModelSpec spec = TestModels.spec(source);
        Path model = EditedCheckpoint.writeF32(source, temp.resolve("model"), silent(spec, 12));
        Path out = temp.resolve("out");
        SweepResult result = slice(model, spec.hidden() - 12).run(out);
        assertThat((Double) TestSweep.report(result, "model").values().get("variance_kept"))
                .isCloseTo(1, within(1e-6));
        float[] logits = TestSweep.logits(model);
        assertThat(TestSweep.worst(TestSweep.logits(out), logits) / size(logits)).isLessThan(1e-4);
    }

    @Test
    void aTiedMatrixUnderTheHeadsNameIsTheSameMatrix() throws IOException {
        Path usual = model(QWEN3);
        Path named =
                EditedCheckpoint.renamed(
                        QWEN3,
                        temp.resolve("named"),
                        name -> name.replace("model.embed_tokens", "lm_head"));
        assertThat(TestModels.spec(named).embedding()).isEqualTo("lm_head");
        slice(usual, 48).run(temp.resolve("a"));
        slice(named, 48).run(temp.resolve("b"));
        Map<String, byte[]> a = EditedCheckpoint.bytes(temp.resolve("a"));
        Map<String, byte[]> b = EditedCheckpoint.bytes(temp.resolve("b"));
        assertThat(b.keySet()).containsExactlyInAnyOrderElementsOf(a.keySet());
        b.forEach((name, bytes) -> assertThat(bytes).as(name).isEqualTo(a.get(name)));
        assertThat(TestModels.spec(temp.resolve("b")).tied()).isFalse();
    }

    // ---------------------------------------------------------------- directions

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 8})
    void directionsAreThoseOfAKnownCovariance(int kept) {
        int n = 8;
        double[] variances = {9, 0.5, 4, 7, 0.25, 2, 1, 0};
        double[][] q = orthonormal(n);
        double[] covariance = new double[n * n];
        for (int k = 0; k < n; k++) {
            for (int i = 0; i < n * n; i++) {
                covariance[i] += variances[k] * q[k][i / n] * q[k][i % n];
            }
        }
        int[] order = {0, 3, 2, 5, 6, 1, 4, 7};
        Principal.Directions found = Principal.of(covariance, n, kept);
        assertThat(found.rows()).hasDimensions(kept, n);
        double share = 0;
        for (int k = 0; k < kept; k++) {
            share += variances[order[k]] / 23.75;
            assertThat(Math.abs(dot(found.rows()[k], q[order[k]]))).isCloseTo(1, within(1e-10));
            for (int j = 0; j < kept; j++) {
                assertThat(dot(found.rows()[k], found.rows()[j]))
                        .isCloseTo(j == k ? 1 : 0, within(1e-12));
            }
        }
        assertThat(found.share()).isCloseTo(share, within(1e-12));
    }

    /// Of everything that the two norms of a block and the last norm read, each token as long as
    /// the next.
    @Test
    void theCovarianceIsThatOfWhatNormsRead() throws IOException {
        TestSweep.of(model(LLAMA), "layers", Map.of("layers", List.of(1)))
                .run(temp.resolve("short"));
        Path model = temp.resolve("short");
        TestSweep sweep = slice(model, 48);
        // Dead at the end of the only block, with the note of what was seen before it.
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> sweep.run(out, 2, 1)).isInstanceOf(TestSweep.Killed.class);
        double[] got = note(TestSweep.work(out).resolve("view-0-covariance.note"));
        List<double[]> seen = new ArrayList<>();
        int[] ids = sweep.calibrationIds();
        try (HostModel host = new HostModel(model)) {
            for (int from = 0; from < ids.length; from += sweep.length()) {
                int[] window = Arrays.copyOfRange(ids, from, from + sweep.length());
                seen.addAll(List.of(host.attended(window)));
            }
        }
        for (float[] stream :
                PlainForward.of(model, null, Windows.of(ids, sweep.length())).streams()) {
            for (int at = 0; at < stream.length; at += 64) {
                int row = at;
                seen.add(IntStream.range(0, 64).mapToDouble(i -> stream[row + i]).toArray());
            }
        }
        double[][] rows = seen.stream().map(SlicePassTest::ofOneSize).toArray(double[][]::new);
        assertThat(rows).hasNumberOfRows(3 * ids.length);
        double[][] want = Plain.gram(rows);
        assertThat(got).hasSize(64 * 64);
        for (int i = 0; i < 64 * 64; i++) {
            assertThat(got[i]).isCloseTo(want[i / 64][i % 64], within(1e-3));
        }
    }

    private static double[] note(Path file) throws IOException {
        try (TensorFile note = TensorFile.whole(file);
                Arena memory = Arena.ofConfined()) {
            return note.tensor("values", memory).bytes().toArray(ValueLayout.JAVA_DOUBLE);
        }
    }

    /// With a mean square of one, but for eps.
    private static double[] ofOneSize(double[] row) {
        double scale = 1 / Math.sqrt(dot(row, row) / row.length + 1e-5);
        return Arrays.stream(row).map(v -> v * scale).toArray();
    }

    // ---------------------------------------------------------------- the same bytes

    @ParameterizedTest
    @ValueSource(strings = {"tiny-qwen3", "tiny-mixtral"})
    void nothingThatHappensChangesAByte(String name) throws IOException {
        Path model = model(TestFiles.testdata().resolve(name));
        // The first two deaths are in the look at the model.
        List<Map<String, Object>> passes =
                List.of(
                        Map.of("slice", Map.of("hidden", 40)),
                        Map.of("wanda", Map.of("sparsity", 0.5)));
        new TestSweep(model, passes, 12, 16).assertSameBytesWhateverHappens(temp, 2, 3);
    }

    /// @return tokens that went through blocks
    private long tokens(TestSweep sweep, Path out, int death) throws IOException {
        try (CountingBackend backend =
                new CountingBackend(new CpuBackend(BackendOptions.defaults()), sweep.length())) {
            sweep.run(out, backend, Long.MAX_VALUE, death);
            return backend.tokens();
        }
    }

    @Test
    void anInterruptedRunDoesNotLookAgain() throws IOException {
        TestSweep sweep = slice(model(LLAMA), 48).on(12, 20);
        Path calm = temp.resolve("calm");
        Path out = temp.resolve("out");
        long whole = tokens(sweep, calm, Integer.MAX_VALUE);
        assertThat(whole).isEqualTo(2 * 12 * 20);
        assertThatThrownBy(() -> tokens(sweep, out, 2)).isInstanceOf(TestSweep.Killed.class);
        assertThat(TestSweep.work(out).resolve("view-0-covariance.note")).exists();
        assertThat(tokens(sweep, out, Integer.MAX_VALUE)).isZero();
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(calm));
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void aRunThatDiedWhileItLookedBeginsAgain(int death) throws IOException {
        TestSweep sweep = slice(model(LLAMA), 48);
        sweep.run(temp.resolve("calm"));
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> sweep.run(out, 2, death)).isInstanceOf(TestSweep.Killed.class);
        assertThat(sweep.run(out).resumedBlocks()).isZero();
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(temp.resolve("calm")));
    }

    @Test
    void aDamagedNoteIsMadeAgain() throws IOException {
        TestSweep sweep = slice(model(LLAMA), 48);
        sweep.run(temp.resolve("calm"));
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> sweep.run(out, 2, 2)).isInstanceOf(TestSweep.Killed.class);
        Path note = TestSweep.work(out).resolve("view-0-covariance.note");
        byte[] bytes = Files.readAllBytes(note);
        bytes[100] ^= 1;
        Files.write(note, bytes);
        sweep.run(out);
        assertThat(TestSweep.files(out)).isEqualTo(TestSweep.files(temp.resolve("calm")));
    }

    // ---------------------------------------------------------------- companions

    @Test
    void sharesASweepWithWanda() throws IOException {
        Path out = temp.resolve("out");
        List<Map<String, Object>> passes =
                List.of(
                        Map.of("slice", Map.of("hidden", 48)),
                        Map.of("wanda", Map.of("sparsity", 0.5)));
        SweepResult result = new TestSweep(model(LLAMA), passes, 12, 16).run(out);
        assertThat(result.reports()).hasSize(1 + 14);
        try (HostModel host = new HostModel(out)) {
            for (double[] row : host.matrix("model.layers.1.mlp.gate_proj.weight")) {
                assertThat(row).hasSize(48);
                assertThat(Arrays.stream(row).filter(v -> v == 0).count()).isEqualTo(24);
            }
        }
    }

    @Test
    void comesAfterLayersInOneSweep() throws IOException {
        Path model = model(LLAMA);
        List<Map<String, Object>> passes =
                List.of(
                        Map.of("layers", Map.of("layers", List.of(0))),
                        Map.of("slice", Map.of("hidden", 48)));
        new TestSweep(model, passes, 12, 16).run(temp.resolve("once"));
        TestSweep.of(model, "layers", Map.of("layers", List.of(0))).run(temp.resolve("shorter"));
        slice(temp.resolve("shorter"), 48).run(temp.resolve("twice"));
        assertThat(TestModels.spec(temp.resolve("once")).layers()).hasSize(1);
        for (String file : List.of("model.safetensors", "config.json")) {
            assertThat(TestSweep.files(temp.resolve("once")).get(file))
                    .as(file)
                    .isEqualTo(TestSweep.files(temp.resolve("twice")).get(file));
        }
    }

    // ---------------------------------------------------------------- refusals

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "tiny-llama|64|{hidden} 64 is not smaller than the model's 64|ask for fewer"
                        + " channels",
                "tiny-llama|65|{hidden} 65 is not smaller than the model's 64|ask for fewer"
                        + " channels",
                "tiny-gemma3_text|48|a gemma3_text cannot be sliced: its norms after attention and"
                        + " feed-forward scale single channels of what is added to the stream, which a"
                        + " rotation mixes|width and layers make it smaller",
                "tiny-gpt2|48|the hidden size of a gpt2 cannot change: its readers take the size of"
                        + " a head to be the hidden size by heads|choose another method for this"
                        + " model",
            })
    void refuses(String name, int hidden, String message, String hint) throws IOException {
        Path model = model(TestFiles.testdata().resolve(name));
        assertThatThrownBy(() -> slice(model, hidden).run(temp.resolve("out")))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e).hasMessage(message);
                            assertThat(e.hint()).isEqualTo(hint);
                        });
        assertThat(temp.resolve("out")).doesNotExist();
        assertThat(TestSweep.work(temp.resolve("out"))).doesNotExist();
    }

    @ParameterizedTest
    @ValueSource(ints = {0, -1})
    void hiddenMustBeGiven(int hidden) throws IOException {
        TestSweep sweep = slice(model(LLAMA), hidden);
        assertThatThrownBy(sweep::recipe)
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("slice needs hidden: the channels that stay");
    }
}
