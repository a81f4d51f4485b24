// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/// The filters against transformers' own, and draws against what is left.
class SamplerTest {
    private static final Path FOLDER = TestFiles.shared("oracles/decode");
    private static final JsonMapper JSON = JsonMapper.builder().build();

    /// 99.9% of chi-square with 7 degrees of freedom.
    private static final double CHI_SQUARE_7 = 24.32;

    /// 99.9% of chi-square with 15 degrees of freedom.
    private static final double CHI_SQUARE_15 = 37.70;

    @Test
    void filtersLeaveWhatTransformersLeaves() throws IOException {
        assumeTrue(Files.exists(FOLDER), "no ../shared/oracles/decode: skipped");
        Map<String, float[]> logits = tensors(FOLDER.resolve("sampling.safetensors"));
        JsonNode all = JSON.readTree(FOLDER.resolve("sampling.json").toFile());
        int cases = 0;
        for (JsonNode one : all.path("cases")) {
            String name = one.path("logits").textValue();
            BitSet seen = new BitSet();
            all.path("seen").path(name).forEach(id -> seen.set(id.intValue()));
            check(one, sampler(one.path("settings")).distribution(logits.get(name), seen));
            cases++;
        }
        assertThat(cases).isEqualTo(144);
    }

    private static Sampler sampler(JsonNode settings) {
        Map<String, Object> given = new LinkedHashMap<>();
        given.put("temperature", 1);
        settings.properties().forEach(e -> given.put(e.getKey(), e.getValue().asText()));
        return new Sampler(SamplingSettings.read(Options.of(given)));
    }

    private static void check(JsonNode want, Distribution got) {
        String which = want.path("logits") + " " + want.path("settings");
        assertThat(got.ids()).as(which).hasSize(want.path("kept").intValue()).isSorted();
        assertThat(Arrays.stream(got.p()).sum()).as(which).isCloseTo(1, within(1e-12));
        boolean all = want.has("ids");
        JsonNode ids = want.path(all ? "ids" : "first_ids");
        JsonNode p = want.path(all ? "p" : "first_p");
        BitSet tied = new BitSet();
        want.path("tie").path("ids").forEach(id -> tied.set(id.intValue()));
        for (int i = 0; i < ids.size(); i++) {
            int id = ids.get(i).intValue();
            if (!tied.get(id)) {
                assertThat(got.of(id))
                        .as("%s: %d", which, id)
                        .isPositive()
                        .isCloseTo(p.get(i).doubleValue(), within(1e-6));
            }
        }
        if (want.has("tie")) {
            assertThat(Arrays.stream(got.ids()).filter(tied::get).count())
                    .as(which)
                    .isEqualTo(want.path("tie").path("kept").longValue());
        }
        if (!all) {
            assertThat(got.of(want.path("last_id").intValue()))
                    .as(which)
                    .isCloseTo(want.path("last_p").doubleValue(), within(1e-6));
        }
    }

    /// Random logits with ties, as a model of few bits has them: what the bands of the search leave
    /// is what sorting everything leaves.
    @Test
    void topPIsTheShortestPrefixOfTheSortedVocabulary() {
        SplittableRandom random = new SplittableRandom(7);
        for (int round = 0; round < 200; round++) {
            float[] logits = new float[300];
            float spread = (float) Math.pow(10, random.nextDouble(-1, 2));
            for (int i = 0; i < logits.length; i++) {
                logits[i] = Math.round(random.nextDouble() * 50) * spread / 50;
            }
            double mass = random.nextDouble(0.01, 0.999);
            Distribution got =
                    new Sampler(new SamplingSettings(1, 0, mass, 0, 1, 0, 0, 1, 0))
                            .distribution(logits, new BitSet());
            double[] p =
                    new Sampler(SamplingSettings.drawing(1, 0))
                            .distribution(logits, new BitSet())
                            .p();
            int[] order =
                    IntStream.range(0, p.length)
                            .boxed()
                            .sorted((a, b) -> Double.compare(p[b], p[a]))
                            .mapToInt(i -> i)
                            .toArray();
            int kept = 0;
            for (double sum = 0; sum < mass; kept++) {
                sum += p[order[kept]];
            }
            assertThat(got.ids())
                    .as("round %d", round)
                    .containsExactlyInAnyOrder(Arrays.copyOf(order, kept));
        }
    }

    @Test
    void drawsFollowTheDistribution() {
        float[] logits = {0, 1, -1, 2, 0.5f, -3, 1.5f, 0.1f};
        Sampler sampler = new Sampler(SamplingSettings.drawing(1.3, 0));
        double[] p = sampler.distribution(logits, new BitSet()).p();
        int n = 40_000;
        long[] counts = new long[logits.length];
        Draws draws = new Draws(11, 0);
        for (int i = 0; i < n; i++) {
            counts[sampler.next(logits, new BitSet(), draws)]++;
        }
        assertThat(chiSquare(counts, p, n)).isLessThan(CHI_SQUARE_7);
        // The same draws do not fit another temperature: the test could fail.
        double[] other =
                new Sampler(SamplingSettings.drawing(1.2, 0))
                        .distribution(logits, new BitSet())
                        .p();
        assertThat(chiSquare(counts, other, n)).isGreaterThan(CHI_SQUARE_7);
    }

    /// The first numbers of neighbouring streams and seeds are as random as those of one stream.
    @Test
    void streamsOfOneSeedAreIndependent() {
        int n = 16_000;
        long[] byStream = new long[16];
        long[] bySeed = new long[16];
        long[] byPair = new long[16];
        for (int i = 0; i < n; i++) {
            byStream[(int) (16 * new Draws(3, i).next())]++;
            bySeed[(int) (16 * new Draws(i, 0).next())]++;
            int a = (int) (4 * new Draws(3, i).next());
            int b = (int) (4 * new Draws(3, i + 1).next());
            byPair[4 * a + b]++;
        }
        double[] even = new double[16];
        Arrays.fill(even, 1 / 16.0);
        for (long[] counts : List.of(byStream, bySeed, byPair)) {
            assertThat(chiSquare(counts, even, n)).isLessThan(CHI_SQUARE_15);
        }
    }

    /// What a seed stands for never changes: computed once with Python's integers.
    @Test
    void aSeedMeansTheSameNumbersForEver() {
        Draws draws = new Draws(42, 3);
        assertThat(new double[] {draws.next(), draws.next(), draws.next()})
                .containsExactly(0.3177043403065315, 0.9660899327680339, 0.7918886470027897);
    }

    @Test
    void greedyTakesTheBestAndAsksForNoNumber() {
        float[] logits = {1, 3, 3, -2};
        Sampler greedy = new Sampler(SamplingSettings.GREEDY);
        assertThat(greedy.next(logits, new BitSet(), null)).isEqualTo(1);
        assertThat(greedy.distribution(logits, new BitSet()).of(1)).isEqualTo(1);
        BitSet seen = new BitSet();
        seen.set(1);
        Sampler penal = new Sampler(new SamplingSettings(0, 0, 1, 0, 1, 0, 0, 1.1, 0));
        assertThat(penal.next(logits, seen, null)).isEqualTo(2);
        assertThat(logits).containsExactly(1, 3, 3, -2);
    }

    @Test
    void impossibleSettingsAreRefused() {
        refused(Map.of("temperature", -1), "temperature is -1.0, expected at least 0");
        refused(
                Map.of("temperature", 1, "topP", 0),
                "topP is 0.0, expected more than 0, at most 1");
        refused(Map.of("temperature", 1, "topK", -3), "topK is -3, expected at least 0");
        refused(Map.of("repetitionPenalty", 0), "expected more than 0");
        refused(Map.of("temperature", "warm"), "temperature is warm, expected a number");
        refused(Map.of("topP", 0.9), "with temperature 0 none is drawn");
        assertThatThrownBy(() -> SamplingSettings.drawing(-1, 0))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() ->
                        new Sampler(SamplingSettings.GREEDY)
                                .next(new float[] {Float.NaN, Float.NaN}, new BitSet(), null))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("NaN");
    }

    private static void refused(Map<String, Object> settings, String sentence) {
        assertThatThrownBy(() -> SamplingSettings.read(Options.of(settings)))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(sentence);
    }

    private static double chiSquare(long[] counts, double[] p, int n) {
        double sum = 0;
        for (int i = 0; i < p.length; i++) {
            double expected = n * p[i];
            sum += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        return sum;
    }

    private static Map<String, float[]> tensors(Path file) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        int header = Math.toIntExact(bytes.getLong());
        JsonNode names = JSON.readTree(bytes.array(), 8, header);
        Map<String, float[]> all = new HashMap<>();
        names.properties()
                .forEach(e -> {
                    JsonNode offsets = e.getValue().path("data_offsets");
                    float[] values =
                            new float[(offsets.get(1).intValue() - offsets.get(0).intValue()) / 4];
                    bytes.slice(8 + header + offsets.get(0).intValue(), 4 * values.length)
                            .order(ByteOrder.LITTLE_ENDIAN)
                            .asFloatBuffer()
                            .get(values);
                    all.put(e.getKey(), values);
                });
        return all;
    }
}
