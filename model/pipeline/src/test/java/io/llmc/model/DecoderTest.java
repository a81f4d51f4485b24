// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeScaling;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.arch.Architectures;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Sequence;
import io.llmc.model.structure.PageSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Decoding with a cache against whole sequences, as transformers computed them.
class DecoderTest {
    private static final double BOUND = 1e-4;
    private static final ValueLayout.OfFloat LE_FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    static Stream<Path> checkpoints() {
        return GoldenTest.checkpoints();
    }

    /// The prompt in one pass, token by token, and in chunks that no window and no page divides.
    @ParameterizedTest
    @MethodSource("checkpoints")
    void logitsAreThoseOfWholeSequences(Path directory) {
        for (BackendOptions.Math math :
                List.of(BackendOptions.Math.PORTABLE, BackendOptions.Math.AUTO)) {
            try (Checkpoint c = Checkpoint.open(directory);
                    Checkpoint golden = Checkpoint.ofFile(directory.resolve("golden.safetensors"));
                    TensorReader expected = golden.reader();
                    Backend backend = new CpuBackend(new BackendOptions(2, math))) {
                ModelSpec spec = Architectures.specOf(c);
                int[][] ids = ids(expected.tensor("input_ids"));
                float[] want = expected.tensor("logits").bytes().toArray(LE_FLOAT);
                int length = ids[0].length;
                // Angles that follow the length differ by design: keys stay as they were turned. So
                // do choices among equal scores, which depend on how many there are.
                List<int[]> ways =
                        followsLength(spec) || choosesByHeads(spec)
                                ? List.of(new int[] {length})
                                : List.of(
                                        new int[] {length}, new int[] {1}, new int[] {5, 11, 1, 2});
                for (int[] way : ways) {
                    float[] got = decoded(c, spec, backend, ids, way);
                    assertThat(got).hasSameSizeAs(want);
                    assertThat(worst(want, got))
                            .as("%s, %s", math, Arrays.toString(way))
                            .isLessThan(BOUND);
                }
            }
        }
    }

    private static boolean followsLength(ModelSpec spec) {
        return spec.layers().stream()
                .flatMap(LayerSpec::ropes)
                .anyMatch(r ->
                        r.config().scaling() instanceof RopeScaling.Dynamic
                                || r.config().scaling() instanceof RopeScaling.LongRope);
    }

    /// Single keys score zero, all alike, where none of the heads counts; means of keys hardly do.
    private static boolean choosesByHeads(ModelSpec spec) {
        return spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .anyMatch(body ->
                        body instanceof LatentAttentionSpec latent
                                && latent.indexer() != null
                                && !latent.indexer().choice().pooled());
    }

    /// With a head beside each that counts where that one does not, so that no score is zero.
    @Test
    void chosenKeysAreThoseOfWholeSequences() {
        Path directory = architecture("glm_moe_dsa");
        assumeTrue(Files.exists(directory), "no ../shared");
        try (Checkpoint files = Checkpoint.open(directory);
                Checkpoint golden = Checkpoint.ofFile(directory.resolve("golden.safetensors"));
                TensorReader expected = golden.reader();
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO))) {
            Checkpoint c = withOppositeHeads(files);
            ModelSpec spec = Architectures.specOf(c);
            int[][] ids = ids(expected.tensor("input_ids"));
            float[] want = decoded(c, spec, backend, ids, new int[] {ids[0].length});
            for (int[] way : List.of(new int[] {1}, new int[] {5, 11, 1, 2})) {
                float[] got = decoded(c, spec, backend, ids, way);
                assertThat(worst(want, got)).as(Arrays.toString(way)).isLessThan(BOUND);
            }
        }
    }

    private static Checkpoint withOppositeHeads(Checkpoint c) {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : c.names()) {
            TensorInfo info = c.info(name);
            long[] dims = info.shape().dims();
            if (isOfHeads(name)) {
                dims[0] *= 2;
            }
            infos.put(name, TensorInfo.of(name, info.dtype(), dims));
        }
        HfConfig config = c.config();
        return c.derived(
                config.with("index_n_heads", 2 * config.integer("index_n_heads")),
                infos,
                (name, base, memory) -> {
                    Tensor x = base.tensor(name);
                    if (!isOfHeads(name)) {
                        return x;
                    }
                    MemorySegment both = memory.allocate(2 * x.byteSize(), 64);
                    both.copyFrom(x.bytes());
                    both.asSlice(x.byteSize()).copyFrom(x.bytes());
                    for (long at = x.byteSize() + 1;
                            name.contains("wq_b") && at < both.byteSize();
                            at += 2) {
                        byte high = both.get(ValueLayout.JAVA_BYTE, at);
                        both.set(ValueLayout.JAVA_BYTE, at, (byte) (high ^ 0x80));
                    }
                    return Tensor.of(both, DType.BF16, infos.get(name).shape().dims());
                });
    }

    private static boolean isOfHeads(String name) {
        return name.contains("indexer.wq_b") || name.contains("indexer.weights_proj");
    }

    /// All sequences side by side, in chunks of these lengths, the last of them again and again.
    @SuppressWarnings("MustBeClosed") // closed at the end
    private static float[] decoded(
            Checkpoint c, ModelSpec spec, Backend backend, int[][] ids, int[] way) {
        int length = ids[0].length;
        int rows = ids.length * Arrays.stream(way).max().orElseThrow();
        var settings =
                new CacheSettings((long) ids.length * length, ids.length, rows, DType.F32, 0);
        float[][][] logits = new float[ids.length][length][];
        try (Decoder decoder = Decoder.open(c, spec, backend, settings)) {
            List<Sequence> sequences = Arrays.stream(ids).map(_ -> decoder.sequence()).toList();
            int at = 0;
            for (int i = 0; at < length; i++) {
                int some = Math.min(way[Math.min(i, way.length - 1)], length - at);
                List<Decoder.Chunk> chunks = new ArrayList<>();
                for (int s = 0; s < ids.length; s++) {
                    int[] part = Arrays.copyOfRange(ids[s], at, at + some);
                    chunks.add(new Decoder.Chunk(sequences.get(s), part, some));
                }
                float[][] rowsOfAll = decoder.step(chunks);
                for (int r = 0; r < rowsOfAll.length; r++) {
                    logits[r / some][at + r % some] = rowsOfAll[r];
                }
                at += some;
            }
            sequences.forEach(Sequence::close);
        }
        float[] all = new float[ids.length * length * spec.vocabulary()];
        for (int i = 0; i < ids.length * length; i++) {
            float[] row = logits[i / length][i % length];
            System.arraycopy(row, 0, all, i * row.length, row.length);
        }
        return all;
    }

    private static double worst(float[] want, float[] got) {
        double worst = 0;
        for (int i = 0; i < want.length; i++) {
            double difference = Math.abs(want[i] - got[i]);
            worst = difference <= worst ? worst : difference;
        }
        return worst;
    }

    static Stream<String> oracles() {
        Path tiny = TestFiles.shared("oracles/decode/tiny");
        if (!Files.exists(tiny)) {
            return Stream.of();
        }
        return Stream.of(
                        "mistral",
                        "qwen2_sliding",
                        "gemma3_text",
                        "cohere2",
                        "gpt_oss",
                        "deepseek_v3",
                        "llama_rope_dynamic")
                .filter(name -> {
                    try (Checkpoint c = Checkpoint.open(architecture(name))) {
                        return Architectures.ALL.stream()
                                .anyMatch(a -> a.modelTypes().contains(c.config().modelType()));
                    }
                });
    }

    private static Path architecture(String name) {
        return TestFiles.shared("oracles/architectures").resolve(name);
    }

    /// What transformers' cache gives behind a prompt of 24 tokens, beyond every window.
    @ParameterizedTest
    @MethodSource("oracles")
    void transformersDecodesTheSame(String name) {
        Path file = TestFiles.shared("oracles/decode/tiny").resolve(name + ".safetensors");
        try (Checkpoint c = Checkpoint.open(architecture(name));
                Checkpoint golden = Checkpoint.ofFile(file);
                TensorReader expected = golden.reader();
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO))) {
            ModelSpec spec = Architectures.specOf(c);
            for (String kind : List.of("", "forced_", "ones_")) {
                for (int s = 0; s < 2; s++) {
                    if (!golden.has(kind + "ids." + s)) {
                        continue;
                    }
                    Tensor t = expected.tensor(kind + "ids." + s);
                    int[] ids = ids(t.reshape(1, t.shape().size()))[0];
                    float[] want = expected.tensor(kind + "logits." + s).bytes().toArray(LE_FLOAT);
                    int[] way = kind.equals("ones_") ? new int[] {1} : new int[] {24, 1};
                    float[] got = decoded(c, spec, backend, new int[][] {ids}, way);
                    assertThat(worst(want, got)).as(kind + s).isLessThan(BOUND);
                }
            }
        }
    }

    @Test
    void greedyTokensAreThoseOfTransformers() throws IOException {
        Path file = TestFiles.shared("oracles/decode/tale-llama.json");
        assumeTrue(Files.exists(file), "no ../shared");
        agrees(TestFiles.testdata().resolve("tale-llama"), file, 2e-4);
    }

    private static void agrees(Path model, Path oracle, double bound) throws IOException {
        JsonNode json = new ObjectMapper().readTree(oracle.toFile());
        try (Checkpoint c = Checkpoint.open(model);
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                Decoder decoder =
                        Decoder.open(c, Architectures.specOf(c), backend, CacheSettings.of(600))) {
            for (JsonNode prompt : json.get("prompts")) {
                int[] next = ints(prompt.get("ids"));
                int[] want = ints(prompt.get("greedy"));
                int[] got = new int[want.length];
                try (Sequence sequence = decoder.sequence()) {
                    for (int i = 0; i < want.length; i++) {
                        float[] logits =
                                decoder.step(List.of(new Decoder.Chunk(sequence, next, 1)))[0];
                        got[i] = best(logits);
                        double lse = logSumExp(logits);
                        JsonNode ids = prompt.get("top5_ids").get(i);
                        for (int k = 0; k < 5; k++) {
                            assertThat(logits[ids.get(k).asInt()] - lse)
                                    .isCloseTo(
                                            prompt.get("top5_logprobs").get(i).get(k).asDouble(),
                                            org.assertj.core.data.Offset.offset(bound));
                        }
                        next = new int[] {got[i]};
                    }
                }
                assertThat(got).as(prompt.get("name").asText()).isEqualTo(want);
            }
        }
    }

    private static double logSumExp(float[] x) {
        double max = x[best(x)];
        double sum = 0;
        for (float v : x) {
            sum += Math.exp(v - max);
        }
        return max + Math.log(sum);
    }

    private static int best(float[] x) {
        int best = 0;
        for (int i = 1; i < x.length; i++) {
            best = x[i] > x[best] ? i : best;
        }
        return best;
    }

    private static int[] ints(JsonNode array) {
        int[] values = new int[array.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = array.get(i).asInt();
        }
        return values;
    }

    private static int[][] ids(Tensor t) {
        int[][] all = new int[(int) t.rows()][(int) t.cols()];
        for (int i = 0; i < t.shape().size(); i++) {
            all[i / all[0].length][i % all[0].length] =
                    (int) t.bytes().get(ValueLayout.JAVA_LONG_UNALIGNED, 8L * i);
        }
        return all;
    }

    private static int[] tokens(int seed, int count) {
        return new java.util.Random(seed).ints(count, 3, 250).toArray();
    }

    private static float[] step(Decoder decoder, Sequence sequence, int... ids) {
        return decoder.step(List.of(new Decoder.Chunk(sequence, ids, 1)))[0];
    }

    /// Sequences with a common beginning, one of which is cut back and goes another way: the same
    /// bits as if each had been alone.
    @Test
    void forksAndCutsAreInvisible() {
        for (String name : List.of("tale-llama", "tiny-gemma3_text")) {
            try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve(name));
                    Backend backend =
                            new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                    Decoder decoder =
                            Decoder.open(
                                    c,
                                    Architectures.specOf(c),
                                    backend,
                                    new CacheSettings(300, 3, 80, DType.F32, 20))) {
                int vocabulary = decoder.spec().vocabulary();
                int[] start = Arrays.stream(tokens(1, 70)).map(i -> i % vocabulary).toArray();
                int[] own = Arrays.stream(tokens(2, 9)).map(i -> i % vocabulary).toArray();
                int[] other = Arrays.stream(tokens(3, 9)).map(i -> i % vocabulary).toArray();
                float[] wantOwn = alone(decoder, start, own);
                float[] wantOther = alone(decoder, Arrays.copyOf(start, 55), other);
                try (Sequence a = decoder.sequence()) {
                    step(decoder, a, start);
                    try (Sequence b = a.fork()) {
                        b.truncate(55);
                        assertThat(step(decoder, b, other)).isEqualTo(wantOther);
                        assertThat(step(decoder, a, own)).isEqualTo(wantOwn);
                        assertThat(b.length()).isEqualTo(64);
                    }
                }
                // All pages are free again.
                for (int i = 0; i < 20; i++) {
                    assertThat(alone(decoder, start, own)).isEqualTo(wantOwn);
                }
            }
        }
    }

    /// A copy has states of its own, and texts with states are cut back to nothing or not at all.
    @Test
    void forksHaveStatesOfTheirOwn() {
        Path mamba = TestFiles.testdata().resolve("tiny-mamba");
        for (Path model :
                List.of(
                        architecture("lfm2"),
                        architecture("qwen3_5_text"),
                        architecture("mamba2"),
                        mamba)) {
            assumeTrue(Files.exists(model), "no ../shared");
            try (Checkpoint c = Checkpoint.open(model);
                    Backend backend =
                            new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                    Decoder decoder =
                            Decoder.open(
                                    c,
                                    Architectures.specOf(c),
                                    backend,
                                    new CacheSettings(300, 3, 80, DType.F32, 60))) {
                int[] start = Arrays.stream(tokens(1, 20)).map(i -> i % 97).toArray();
                int[] own = {3, 4, 5};
                int[] other = {6, 7};
                float[] wantOwn = alone(decoder, start, own);
                float[] wantOther = alone(decoder, start, other);
                try (Sequence a = decoder.sequence()) {
                    step(decoder, a, start);
                    try (Sequence b = a.fork()) {
                        assertThat(step(decoder, b, other)).isEqualTo(wantOther);
                        assertThat(step(decoder, a, own)).isEqualTo(wantOwn);
                        assertThat(b.allows(20)).isFalse();
                        b.truncate(0);
                        step(decoder, b, start);
                        assertThat(step(decoder, b, own)).isEqualTo(wantOwn);
                    }
                }
            }
        }
    }

    private static float[] alone(Decoder decoder, int[] start, int[] rest) {
        try (Sequence s = decoder.sequence()) {
            step(decoder, s, start);
            return step(decoder, s, rest);
        }
    }

    @Test
    void aFullCacheSaysHowMuchItHolds() {
        try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                Decoder decoder =
                        Decoder.open(c, Architectures.specOf(c), backend, CacheSettings.of(64));
                Sequence s = decoder.sequence()) {
            step(decoder, s, tokens(1, 60));
            assertThatThrownBy(() -> step(decoder, s, tokens(1, 60)))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("the cache is full: it holds 64 tokens of 1 sequences");
            // Nothing was taken: what fits still does.
            step(decoder, s, tokens(1, 4));
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F16", "BF16", "I8", "F8_E4M3"})
    void aRoundedCacheIsClose(DType type) {
        int[] ids = tokens(5, 200);
        try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO))) {
            ModelSpec spec = Architectures.specOf(c);
            float[] exact = last(c, spec, backend, DType.F32, ids);
            float[] rounded = last(c, spec, backend, type, ids);
            double divergence = 0;
            double p = logSumExp(exact);
            double q = logSumExp(rounded);
            for (int i = 0; i < exact.length; i++) {
                double log = exact[i] - p;
                divergence += Math.exp(log) * (log - (rounded[i] - q));
            }
            double most = type == DType.F8_E4M3 ? 2e-3 : type == DType.I8 ? 2e-4 : 5e-5;
            assertThat(divergence).isBetween(1e-12, most);
        }
    }

    /// Latents are close when they are rounded, and far smaller than what is made of them.
    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F16", "BF16", "I8", "F8_E4M3"})
    void roundedLatentsAreClose(DType type) {
        assumeTrue(Files.exists(architecture("deepseek_v3")), "no ../shared");
        int[] ids = Arrays.stream(tokens(5, 40)).map(i -> i % 100).toArray();
        try (Checkpoint c = Checkpoint.open(architecture("deepseek_v3"));
                Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO))) {
            ModelSpec spec = Architectures.specOf(c);
            float[] exact = last(c, spec, backend, DType.F32, ids);
            float[] rounded = last(c, spec, backend, type, ids);
            // What is wrong moves logits by several.
            double most = type == DType.F8_E4M3 ? 1 : type == DType.F16 ? 0.05 : 0.5;
            assertThat(worst(exact, rounded)).isBetween(1e-7, most);
        }
    }

    /// A prompt that is long enough for keys and values to be made of the latents, behind another.
    @Test
    void longPromptsAreReadAsShortOnes() {
        for (String name : List.of("deepseek_v3", "kimi_linear", "longcat_flash")) {
            assumeTrue(Files.exists(architecture(name)), "no ../shared");
            try (Checkpoint c = Checkpoint.open(architecture(name));
                    Backend backend =
                            new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO))) {
                ModelSpec spec = Architectures.specOf(c);
                LatentAttentionSpec latent =
                        spec.layers().stream()
                                .flatMap(layer -> layer.body(LatentAttentionSpec.class).stream())
                                .findFirst()
                                .orElseThrow();
                int many = Math.toIntExact(latent.expandedFrom());
                int[][] ids = new int[2][many + 10];
                for (int i = 0; i < ids.length; i++) {
                    ids[i] = Arrays.stream(tokens(i, many + 10)).map(t -> t % 90).toArray();
                }
                float[] want = decoded(c, spec, backend, ids, new int[] {5});
                for (int[] way : List.of(new int[] {10, many}, new int[] {many, 3, 1})) {
                    assertThat(worst(want, decoded(c, spec, backend, ids, way)))
                            .as("%s, %s", name, Arrays.toString(way))
                            .isLessThan(BOUND);
                }
            }
        }
    }

    @Test
    void latentsAreCached() {
        assumeTrue(Files.exists(architecture("deepseek_v3")), "no ../shared");
        try (Checkpoint c = Checkpoint.open(architecture("deepseek_v3"))) {
            ModelSpec spec = Architectures.specOf(c);
            LatentAttentionSpec latent =
                    spec.layers().getFirst().body(LatentAttentionSpec.class).orElseThrow();
            assertThat(latent.pages())
                    .extracting(PageSpec::heads, PageSpec::width)
                    .containsExactly(
                            tuple(1, latent.latentWidth()), tuple(1, latent.latents().rank()));
        }
    }

    private static float[] last(
            Checkpoint c, ModelSpec spec, Backend backend, DType type, int[] ids) {
        try (Decoder decoder =
                        Decoder.open(
                                c,
                                spec,
                                backend,
                                new CacheSettings(ids.length, 1, ids.length, type, 0));
                Sequence s = decoder.sequence()) {
            step(decoder, s, Arrays.copyOf(ids, ids.length - 1));
            return step(decoder, s, ids[ids.length - 1]);
        }
    }
}
