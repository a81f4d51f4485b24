// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.evaluation.Convention;
import io.llmc.evaluation.EvalSpec;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.TinyTokenizer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class BlameTest {
    private static final int WINDOW = 32;

    @TempDir private Path temp;
    private Path original;
    private Path data;

    @BeforeEach
    void makeModel() throws IOException {
        original = copy("tiny-llama", "original", _ -> false, 1);
        Random random = new Random(5);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 100 * WINDOW; i++) {
            text.append('w').append(random.nextInt(10)).append(' ');
        }
        data = Files.writeString(temp.resolve("text.txt"), text);
    }

    /// A bundled model with some tensors multiplied.
    private Path copy(String name, String as, Predicate<String> changed, float factor)
            throws IOException {
        Path to = Files.createDirectory(temp.resolve(as));
        try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve(name));
                TensorReader reader = c.reader();
                Arena memory = Arena.ofShared()) {
            List<TensorInfo> infos = c.names().stream().map(c::info).toList();
            try (CheckpointWriter writer =
                    CheckpointWriter.create(to, infos, Long.MAX_VALUE, false)) {
                for (TensorInfo info : infos) {
                    Tensor t = reader.tensor(info.name());
                    writer.write(
                            info.name(), changed.test(info.name()) ? scaled(t, factor, memory) : t);
                }
                writer.finish();
            }
            c.config().write(to.resolve("config.json"));
        }
        TinyTokenizer.write(to, true);
        return to;
    }

    private static Tensor scaled(Tensor t, float factor, Arena memory) {
        MemorySegment bytes = memory.allocate(t.byteSize(), 64);
        for (long i = 0; i < t.shape().size(); i++) {
            Floats.set(bytes, t.dtype(), i, factor * Floats.get(t.bytes(), t.dtype(), i));
        }
        return new Tensor(Tensor.of(bytes, t.dtype(), 1, 1).buffer(), 0, t.dtype(), t.shape());
    }

    private EvalSpec spec(Path model, int windows) {
        return new EvalSpec(model, original, data, WINDOW, Convention.GPTQ, 0, windows);
    }

    private static BlameResult blame(EvalSpec spec, Unit unit, long cap, int threads) {
        try (CpuBackend backend = backend(threads);
                BlameJob job =
                        new BlameJob(spec, unit, Models.AS_THEY_SAY, backend, cap, Progress.NONE)) {
            return job.run();
        }
    }

    private static CpuBackend backend(int threads) {
        return new CpuBackend(new BackendOptions(threads, BackendOptions.Math.PORTABLE));
    }

    private static Map<String, Double> costs(BlameResult result) {
        return result.costs().stream().collect(Collectors.toMap(Cost::name, Cost::kld));
    }

    @Test
    void onlyWhatDiffersCostsAnything() throws IOException {
        String layer = "model.layers.1.self_attn.q_proj";
        Path model = copy("tiny-llama", "model", name -> name.startsWith(layer), 3);
        BlameResult layers = blame(spec(model, 3), Unit.LAYERS, Long.MAX_VALUE, 2);
        assertThat(layers.costs().getFirst().name()).isEqualTo(layer);
        assertThat(layers.costs().getFirst().kld()).isPositive().isEqualTo(layers.kld());
        assertThat(layers.costs().subList(1, layers.costs().size()))
                .hasSizeGreaterThan(6)
                .allMatch(c -> c.kld() == 0);
        BlameResult blocks = blame(spec(model, 3), Unit.BLOCKS, Long.MAX_VALUE, 2);
        assertThat(blocks.costs().getFirst().name()).isEqualTo("model.layers.1");
        assertThat(blocks.costs().getFirst().kld()).isEqualTo(layers.kld());
    }

    /// Of norms, which are no layers, and of what surrounds the blocks.
    @Test
    void everythingElseIsBlamedWhereItIs() throws IOException {
        Path norms = copy("tiny-llama", "norms", name -> name.contains("layers.0.input"), 2);
        BlameResult result = blame(spec(norms, 3), Unit.BLOCKS, Long.MAX_VALUE, 2);
        assertThat(costs(result).get("model.layers.0")).isPositive().isEqualTo(result.kld());
        assertThat(blame(spec(norms, 3), Unit.LAYERS, Long.MAX_VALUE, 2).costs())
                .allMatch(c -> c.kld() == 0);
        Path outside = copy("tiny-llama", "outside", name -> name.contains("embed"), 1.2f);
        BlameResult embedding = blame(spec(outside, 3), Unit.BLOCKS, Long.MAX_VALUE, 2);
        assertThat(embedding.costs().getFirst().name()).isEqualTo("model.embed_tokens");
        assertThat(embedding.costs().getFirst().kld()).isPositive().isEqualTo(embedding.kld());
        Path last = copy("tiny-llama", "last", "model.norm.weight"::equals, 2);
        BlameResult head = blame(spec(last, 3), Unit.BLOCKS, Long.MAX_VALUE, 2);
        assertThat(head.costs().getFirst().kld()).isPositive().isEqualTo(head.kld());
        assertThat(head.costs().getFirst().name()).isIn("lm_head", "model.embed_tokens");
    }

    @ParameterizedTest
    @EnumSource(Unit.class)
    void figuresDependNeitherOnTheCapNorOnThreads(Unit unit) throws IOException {
        Path model = copy("tiny-llama", "model", name -> name.contains("proj"), 1.1f);
        EvalSpec spec = spec(model, 100);
        BlameResult expected = blame(spec, unit, Long.MAX_VALUE, 1);
        assertThat(expected.costs()).allMatch(c -> c.kld() > 0);
        long cap;
        try (CpuBackend backend = backend(1);
                BlameJob job =
                        new BlameJob(
                                spec,
                                unit,
                                Models.AS_THEY_SAY,
                                backend,
                                Long.MAX_VALUE,
                                Progress.NONE)) {
            assertThat(job.batchWindows()).isEqualTo(100);
        }
        try (CpuBackend backend = backend(1);
                BlameJob job =
                        new BlameJob(
                                spec(model, 3),
                                unit,
                                Models.AS_THEY_SAY,
                                backend,
                                Long.MAX_VALUE,
                                Progress.NONE)) {
            cap = job.bytes();
        }
        try (CpuBackend backend =
                        new CpuBackend(
                                new BackendOptions(
                                        2,
                                        BackendOptions.Math.PORTABLE,
                                        cap,
                                        BackendOptions.Compute.F32));
                BlameJob job =
                        new BlameJob(spec, unit, Models.AS_THEY_SAY, backend, cap, Progress.NONE)) {
            assertThat(job.batchWindows()).isLessThan(100);
            assertThat(job.run()).isEqualTo(expected);
        }
        assertThat(blame(spec, unit, Long.MAX_VALUE, 3)).isEqualTo(expected);
    }

    @Test
    void refusesModelsWhosePartsDoNotFit() throws IOException {
        Path more = copy("tiny-gemma3_text", "more", _ -> false, 1);
        assertThatThrownBy(() -> blame(spec(more, 1), Unit.BLOCKS, Long.MAX_VALUE, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("more has 3 blocks")
                .hasMessageContaining("original has 2");
        Path fused = copy("tiny-phi3", "fused", _ -> false, 1);
        assertThatThrownBy(() -> blame(spec(fused, 1), Unit.LAYERS, Long.MAX_VALUE, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("fused has model.layers.0.self_attn.qkv_proj [128, 64]");
        Path turned = copy("tiny-llama", "turned", name -> name.contains("embed"), -1);
        assertThatThrownBy(() -> blame(spec(turned, 1), Unit.BLOCKS, Long.MAX_VALUE, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("do not embed tokens alike");
        assertThatThrownBy(() -> blame(spec(original, 1), Unit.BLOCKS, 1, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("the least that works here is");
    }

    @Test
    void progressCountsToItsTotal() throws IOException {
        long[] counts = new long[2];
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
                    public void end() {}

                    @Override
                    public void note(String line) {}
                };
        try (CpuBackend backend = backend(1);
                BlameJob job =
                        new BlameJob(
                                spec(original, 2),
                                Unit.LAYERS,
                                Models.AS_THEY_SAY,
                                backend,
                                Long.MAX_VALUE,
                                progress)) {
            job.run();
        }
        assertThat(counts[0]).isPositive().isEqualTo(counts[1]);
    }

    @Test
    void theAdviceIsWhatCostsMoreThanItSaves() {
        List<Cost> costs = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            costs.add(new Cost("c" + i, "c" + i, i < 5 ? 20 : 1, 0, 0.01 * i, 100));
        }
        costs.add(new Cost("kept", "kept", 50, 0, 0, 0));
        Advice advice = Advice.of(costs);
        // Five stand out, and three are a tenth of what is saved.
        assertThat(advice.patterns()).containsExactly("c0", "c1", "c2");
        assertThat(advice.bytes()).isEqualTo(300);
        assertThat(advice.share()).isCloseTo(0.03, within(1e-12));
        assertThat(Advice.of(costs.subList(5, 30)).patterns()).isEmpty();
        assertThat(Advice.of(List.of(new Cost("zero", "zero", 0, 0, 0, 5))).patterns()).isEmpty();
    }
}
