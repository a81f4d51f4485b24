// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.safetensors.TensorFileWriter;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.TinyTokenizer;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import java.util.SequencedMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EvaluatorTest {
    private static final Portions SMALL = new Portions(1, 50, 1, 7);
    private static final int VOCABULARY = 256;

    @TempDir Path temp;
    private Path model;
    private Path other;
    private Path data;
    private int[] ids;

    @BeforeEach
    void makeModels() throws IOException {
        model = copy("tiny-llama", "model");
        other = copy("tiny-qwen3", "other");
        Random random = new Random(11);
        StringBuilder text = new StringBuilder();
        ids = new int[150];
        for (int i = 0; i < ids.length; i++) {
            int word = random.nextInt(10);
            ids[i] = 3 + word;
            text.append('w').append(word).append(' ');
        }
        data = Files.writeString(temp.resolve("text.txt"), text);
    }

    private Path copy(String name, String as) throws IOException {
        Path to = Files.createDirectory(temp.resolve(as));
        for (String file : new String[] {"config.json", "model.safetensors"}) {
            Files.copy(TestFiles.testdata().resolve(name).resolve(file), to.resolve(file));
        }
        TinyTokenizer.write(to, true);
        return to;
    }

    @Test
    void perplexityIsThatOfTheLogitsInEveryConvention() {
        for (Convention convention : Convention.values()) {
            EvalSpec spec = new EvalSpec(model, null, data, 16, convention, 0, 0);
            double[] expected = losses(model, spec);
            EvalResult result = evaluate(spec, 2, SMALL);
            assertThat(result.tokens()).isEqualTo(expected.length);
            assertThat(result.model().loss())
                    .as(convention.label())
                    .isCloseTo(Arrays.stream(expected).average().orElseThrow(), within(1e-5));
            assertThat(result.model().perplexity()).isEqualTo(Math.exp(result.model().loss()));
            assertThat(result.original()).isNull();
        }
    }

    @Test
    void comparesPredictionsTokenByToken() {
        EvalSpec spec = new EvalSpec(model, other, data, 16, Convention.GPTQ, 0, 0);
        double[][] ours = logits(model, spec);
        double[][] theirs = logits(other, spec);
        double[] divergences = new double[ours.length];
        int agreeing = 0;
        for (int r = 0; r < ours.length; r++) {
            double[] p = logSoftmax(theirs[r]);
            double[] q = logSoftmax(ours[r]);
            for (int v = 0; v < p.length; v++) {
                divergences[r] += Math.exp(p[v]) * (p[v] - q[v]);
            }
            agreeing += best(p) == best(q) ? 1 : 0;
        }
        EvalResult result = evaluate(spec, 2, SMALL);
        Drift drift = result.comparison().drift();
        assertThat(drift.divergence().mean())
                .isCloseTo(Arrays.stream(divergences).average().orElseThrow(), within(1e-5));
        assertThat(drift.divergence().max())
                .isCloseTo(Arrays.stream(divergences).max().orElseThrow(), within(1e-5));
        assertThat(drift.top1()).isEqualTo((double) agreeing / ours.length);
        double mean = Arrays.stream(losses(model, spec)).average().orElseThrow();
        double original = Arrays.stream(losses(other, spec)).average().orElseThrow();
        assertThat(result.comparison().ratio().value())
                .isCloseTo(Math.exp(mean - original), within(1e-4));
        assertThat(result.comparison().ratio().low())
                .isLessThan(result.comparison().ratio().value());
        assertThat(result.original().loss()).isCloseTo(original, within(1e-5));
    }

    @Test
    void aModelAgainstItselfHasNotMoved() {
        EvalResult r =
                evaluate(new EvalSpec(model, model, data, 16, Convention.GPTQ, 0, 0), 2, SMALL);
        Drift drift = r.comparison().drift();
        assertThat(r.comparison().ratio().low()).isEqualTo(1);
        assertThat(r.comparison().ratio().high()).isEqualTo(1);
        assertThat(drift.divergence().min()).isZero();
        assertThat(drift.divergence().max()).isZero();
        assertThat(drift.rms()).isZero();
        assertThat(drift.rmsError()).isZero();
        assertThat(drift.top1()).isEqualTo(1);
        assertThat(r.figures()).containsEntry("size_ratio", 1.0);
    }

    @Test
    void figuresDependNeitherOnThreadsNorOnPortions() {
        EvalSpec spec = new EvalSpec(model, other, data, 16, Convention.SLIDING, 0, 0);
        SequencedMap<String, Object> one = evaluate(spec, 1, SMALL).figures();
        for (EvalResult r :
                new EvalResult[] {evaluate(spec, 2, Portions.DEFAULT), evaluate(spec, 3, SMALL)}) {
            SequencedMap<String, Object> more = r.figures();
            for (String speed : new String[] {"tokens_per_second", "original_tokens_per_second"}) {
                one.remove(speed);
                assertThat((Double) more.remove(speed)).isPositive();
            }
            assertThat(more).isEqualTo(one);
        }
    }

    @Test
    void theMapHasTheDocumentedNamesInOrder() {
        assertThat(
                        evaluate(
                                        new EvalSpec(model, other, data, 16, Convention.GPTQ, 0, 2),
                                        2,
                                        SMALL)
                                .figures()
                                .keySet())
                .containsExactly(
                        "model",
                        "data",
                        "perplexity",
                        "perplexity_convention",
                        "perplexity_stderr",
                        "loss",
                        "tokens",
                        "windows",
                        "window",
                        "tokens_per_second",
                        "bytes",
                        "parameters",
                        "bits_per_weight",
                        "original",
                        "original_perplexity",
                        "original_perplexity_stderr",
                        "original_loss",
                        "perplexity_ratio",
                        "perplexity_ratio_stderr",
                        "perplexity_ratio_low",
                        "perplexity_ratio_high",
                        "log_perplexity_ratio",
                        "log_perplexity_ratio_stderr",
                        "perplexity_difference",
                        "perplexity_difference_stderr",
                        "loss_correlation",
                        "perplexity_ratio_interval",
                        "kld_mean",
                        "kld_mean_stderr",
                        "kld_max",
                        "kld_p99_9",
                        "kld_p99",
                        "kld_p95",
                        "kld_p90",
                        "kld_median",
                        "kld_p10",
                        "kld_p5",
                        "kld_p1",
                        "kld_p0_1",
                        "kld_min",
                        "delta_p_mean",
                        "delta_p_mean_stderr",
                        "delta_p_max",
                        "delta_p_p99_9",
                        "delta_p_p99",
                        "delta_p_p95",
                        "delta_p_p90",
                        "delta_p_p75",
                        "delta_p_median",
                        "delta_p_p25",
                        "delta_p_p10",
                        "delta_p_p5",
                        "delta_p_p1",
                        "delta_p_p0_1",
                        "delta_p_min",
                        "delta_p_rms",
                        "delta_p_rms_stderr",
                        "top1_agreement",
                        "top1_agreement_stderr",
                        "original_tokens_per_second",
                        "original_bytes",
                        "original_parameters",
                        "original_bits_per_weight",
                        "size_ratio");
    }

    @Test
    void refusesWhatCannotBeMeasured() throws IOException {
        Path tiny = TestFiles.shared("oracles/architectures/llama");
        assertThatThrownBy(() ->
                        evaluate(
                                new EvalSpec(model, null, data, 1 << 20, Convention.GPTQ, 0, 0),
                                2,
                                SMALL))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("are longer than the");
        Files.delete(model.resolve("tokenizer.json"));
        assertThatThrownBy(() ->
                        evaluate(
                                new EvalSpec(model, null, data, 16, Convention.GPTQ, 0, 0),
                                2,
                                SMALL))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("has no tokenizer.json");
        if (Files.exists(tiny)) {
            assertThatThrownBy(() ->
                            evaluate(
                                    new EvalSpec(other, tiny, data, 16, Convention.GPTQ, 0, 0),
                                    2,
                                    SMALL))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("a vocabulary of 256 tokens");
        }
    }

    @Test
    void progressCountsToItsTotal() {
        long[] counts = new long[3];
        Progress progress =
                new Progress() {
                    @Override
                    public void begin(String task, long total) {
                        counts[0] += total;
                    }

                    @Override
                    public void advance(long by, String detail) {
                        counts[1] += by;
                    }

                    @Override
                    public void end() {
                        counts[2]++;
                    }

                    @Override
                    public void note(String line) {}
                };
        try (CpuBackend backend = backend(1)) {
            new Evaluator(backend, progress, SMALL)
                    .evaluate(new EvalSpec(model, other, data, 16, Convention.GPTQ, 0, 0));
        }
        assertThat(counts[0]).isPositive().isEqualTo(counts[1]);
        assertThat(counts[2]).isEqualTo(1);
    }

    private static EvalResult evaluate(EvalSpec spec, int threads, Portions portions) {
        try (CpuBackend backend = backend(threads)) {
            return new Evaluator(backend, Progress.NONE, portions).evaluate(spec);
        }
    }

    private static CpuBackend backend(int threads) {
        return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.PORTABLE));
    }

    /// Logits of every scored row, by way of a dump of every row.
    private double[][] logits(Path directory, EvalSpec spec) {
        ScoredWindows windows = ScoredWindows.of(ids, spec, OptionalInt.of(TinyTokenizer.BOS));
        try (CpuBackend backend = backend(1)) {
            float[] all = dump(backend, directory, windows);
            double[][] rows = new double[windows.rows()][];
            int i = 0;
            for (int w = 0; w < windows.count(); w++) {
                for (int r = windows.firstRow()[w]; r < windows.endRow()[w]; r++) {
                    int at = (w * spec.window() + r) * VOCABULARY;
                    rows[i] = new double[VOCABULARY];
                    for (int v = 0; v < VOCABULARY; v++) {
                        rows[i][v] = all[at + v];
                    }
                    i++;
                }
            }
            return rows;
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private float[] dump(CpuBackend backend, Path directory, ScoredWindows windows)
            throws IOException {
        Path in = temp.resolve("ids.safetensors");
        TensorInfo info =
                TensorInfo.of(
                        "input_ids",
                        io.llmc.tensor.DType.I32,
                        windows.count(),
                        windows.windows().length());
        try (TensorFileWriter out = TensorFileWriter.create(in, List.of(info))) {
            out.append(windows.windows().ids());
            out.finish();
        }
        Path file = temp.resolve("logits.safetensors");
        new LogitsDump(Models.AS_THEY_SAY, backend, Progress.NONE, Long.MAX_VALUE)
                .run(directory, in, file);
        byte[] bytes = Files.readAllBytes(file);
        int data = windows.count() * windows.windows().length() * VOCABULARY * 4;
        return java.lang.foreign.MemorySegment.ofArray(
                        Arrays.copyOfRange(bytes, bytes.length - data, bytes.length))
                .toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
    }

    private double[] losses(Path directory, EvalSpec spec) {
        double[][] rows = logits(directory, spec);
        int[] targets = ScoredWindows.of(ids, spec, OptionalInt.of(TinyTokenizer.BOS)).targets();
        double[] losses = new double[rows.length];
        for (int r = 0; r < rows.length; r++) {
            losses[r] = -logSoftmax(rows[r])[targets[r]];
        }
        return losses;
    }

    private static double[] logSoftmax(double[] x) {
        double max = Arrays.stream(x).max().orElseThrow();
        double sum = Math.log(Arrays.stream(x).map(v -> Math.exp(v - max)).sum());
        return Arrays.stream(x).map(v -> v - max - sum).toArray();
    }

    private static int best(double[] x) {
        int best = 0;
        for (int i = 1; i < x.length; i++) {
            best = x[i] > x[best] ? i : best;
        }
        return best;
    }
}
