// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.pipeline.generation.Generation.Finish;
import io.llmc.tensor.DType;
import io.llmc.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class GeneratorTest {
    private static final Path TALE = TestFiles.testdata().resolve("tale-llama");
    private static final Path FOLDER = TestFiles.shared("oracles/decode");
    private static final SamplingSettings DRAWN = SamplingSettings.drawing(0.9, 5);

    private static Backend backend;
    private static Checkpoint model;
    private static Tokenizer tokenizer;

    @BeforeAll
    @SuppressWarnings("MustBeClosed") // closed behind the last test
    static void open() {
        backend = new CpuBackend(BackendOptions.defaults());
        model = Checkpoint.open(TALE);
        tokenizer = Tokenizer.open(model);
    }

    @AfterAll
    static void close() {
        tokenizer.close();
        model.close();
        backend.close();
    }

    private static CacheSettings cache(int sequences, int rows) {
        return new CacheSettings(4096, sequences, rows, DType.F32, 0);
    }

    private static List<Generation> run(
            CacheSettings cache, List<int[]> prompts, GenerationSettings settings) {
        try (Decoder decoder = Decoder.open(model, Architectures.specOf(model), backend, cache)) {
            return new Generator(decoder, tokenizer, settings)
                    .run(prompts, GenerationListener.NONE);
        }
    }

    private static GenerationSettings settings(SamplingSettings sampling, int tokens) {
        return new GenerationSettings(sampling, tokens, Set.of());
    }

    private static int[] ids(String text) {
        return tokenizer.encode(text, false);
    }

    /// All prompts at once, in passes that cut the long one into pieces.
    @Test
    void greedyTokensAreThoseOfTransformers() throws IOException {
        check(model, tokenizer, "tale-llama.json", cache(4, 100), 2e-4);
    }

    /// Set LLMC_MODELS to the directory of the models, as in `mvn verify -Pslow`.
    @Test
    @Tag("slow")
    void greedyTokensOfARealModelAreThoseOfTransformers() throws IOException {
        String models = System.getenv("LLMC_MODELS");
        assumeTrue(models != null, "skipped: set LLMC_MODELS to a directory of models");
        Path directory = Path.of(models, "SmolLM2-135M-Instruct");
        try (Checkpoint real = Checkpoint.open(directory);
                Tokenizer its = Tokenizer.open(real)) {
            check(real, its, "SmolLM2-135M-Instruct.json", cache(4, 200), 5e-4);
        }
    }

    private static void check(
            Checkpoint c, Tokenizer t, String oracle, CacheSettings cache, double bound)
            throws IOException {
        Path file = FOLDER.resolve(oracle);
        assumeTrue(Files.exists(file), "no ../shared/oracles/decode: skipped");
        JsonNode want = JsonMapper.builder().build().readTree(file.toFile());
        List<int[]> prompts = new ArrayList<>();
        for (JsonNode prompt : want.path("prompts")) {
            prompts.add(ints(prompt.path("ids")));
        }
        GenerationSettings settings =
                new GenerationSettings(
                        SamplingSettings.GREEDY, 64, Set.of(), List.of(), OptionalInt.of(5));
        List<Generation> got;
        try (Decoder decoder = Decoder.open(c, Architectures.specOf(c), backend, cache)) {
            got = new Generator(decoder, t, settings).run(prompts, GenerationListener.NONE);
        }
        for (int i = 0; i < got.size(); i++) {
            check(want.path("prompts").get(i), got.get(i), bound);
        }
    }

    private static void check(JsonNode want, Generation got, double bound) {
        String name = want.path("name").textValue();
        assertThat(got.ids()).as(name).containsExactly(ints(want.path("greedy")));
        assertThat(got.finish()).isEqualTo(Finish.LENGTH);
        for (int step = 0; step < 64; step++) {
            TokenScore score = got.scores().get(step);
            JsonNode top = want.path("top5_ids").get(step);
            JsonNode logprobs = want.path("top5_logprobs").get(step);
            assertThat(score.id()).isEqualTo(top.get(0).intValue());
            for (int k = 0; k < 5; k++) {
                assertThat(score.topLogprobs()[k])
                        .as("%s, token %d, number %d", name, step, k)
                        .isCloseTo(logprobs.get(k).doubleValue(), within(bound));
            }
            assertThat(score.logprob()).isEqualTo(score.topLogprobs()[0]);
        }
        if (!want.path("greedy_text").textValue().contains("<|")) {
            assertThat(got.text()).isEqualTo(want.path("greedy_text").textValue());
        }
    }

    private static int[] ints(JsonNode list) {
        int[] ints = new int[list.size()];
        for (int i = 0; i < ints.length; i++) {
            ints[i] = list.get(i).intValue();
        }
        return ints;
    }

    /// Whatever goes on beside a prompt: others or none, more of them than have place, and passes
    /// of few rows or many.
    @Test
    void aBatchGivesWhatItsPromptsGiveAlone() {
        List<int[]> prompts =
                List.of(
                        ids("Once upon a time"),
                        ids("The"),
                        ids(
                                "The old king had three sons. The youngest went to the mill, and"
                                        + " there"),
                        ids("\"Where are you going?\" asked the"),
                        ids("At noon"));
        GenerationSettings settings = settings(DRAWN, 24);
        List<int[]> want = texts(run(cache(1, 512), prompts, settings));
        assertThat(want.get(0)).isNotEqualTo(want.get(1));
        for (CacheSettings cache : List.of(cache(3, 512), cache(8, 7), cache(2, 2))) {
            assertThat(texts(run(cache, prompts, settings)))
                    .usingRecursiveComparison()
                    .isEqualTo(want);
        }
        assertThat(
                        texts(
                                run(
                                        cache(3, 64),
                                        prompts,
                                        settings(SamplingSettings.drawing(0.9, 6), 24))))
                .usingRecursiveComparison()
                .isNotEqualTo(want);
    }

    /// A cache for two of them at a time, and prompts that begin alike.
    @Test
    void whatPromptsShareIsComputedOnce() {
        String shared = "The old king had three sons. ".repeat(8);
        List<int[]> prompts = new ArrayList<>();
        for (String end : List.of("The youngest", "The oldest", "At last", "", "The young")) {
            prompts.add(ids(shared + end));
        }
        GenerationSettings settings = settings(SamplingSettings.GREEDY, 12);
        List<int[]> want = texts(run(cache(1, 512), prompts, settings));
        int longest = prompts.getFirst().length + 12;
        CacheSettings two = new CacheSettings(2L * longest, 5, 50, DType.F32, 0);
        assertThat(texts(run(two, prompts, settings))).usingRecursiveComparison().isEqualTo(want);
    }

    private static List<int[]> texts(List<Generation> all) {
        return all.stream().map(Generation::ids).toList();
    }

    @Test
    void aTextEndsAtAnEndTokenOrBeforeAStopString() {
        int[] prompt = ids("Once upon a time");
        GenerationSettings plain = settings(SamplingSettings.GREEDY, 64);
        Generation whole = run(cache(1, 64), List.of(prompt), plain).getFirst();
        int end = whole.ids()[20];
        GenerationSettings ending =
                new GenerationSettings(SamplingSettings.GREEDY, 64, Set.of(end));
        Generation ended = run(cache(1, 64), List.of(prompt), ending).getFirst();
        assertThat(ended.finish()).isEqualTo(Finish.STOP);
        assertThat(whole.ids()).startsWith(ended.ids());
        assertThat(ended.ids()).endsWith(end).hasSizeLessThanOrEqualTo(21);
        // Tokens are "ei|ght| coin|s": the string begins and ends inside of some.
        String stop = "ight coi";
        GenerationSettings stopping =
                new GenerationSettings(
                        SamplingSettings.GREEDY,
                        64,
                        Set.of(),
                        List.of("never comes", stop),
                        OptionalInt.empty());
        StringBuilder streamed = new StringBuilder();
        Generation stopped;
        try (Decoder decoder =
                Decoder.open(model, Architectures.specOf(model), backend, cache(1, 64))) {
            stopped =
                    new Generator(decoder, tokenizer, stopping)
                            .run(
                                    List.of(prompt),
                                    new GenerationListener() {
                                        @Override
                                        public void text(int index, String piece) {
                                            streamed.append(piece);
                                        }
                                    })
                            .getFirst();
        }
        assertThat(stopped.finish()).isEqualTo(Finish.STOP);
        assertThat(stopped.text())
                .isEqualTo(whole.text().substring(0, whole.text().indexOf(stop)))
                .isEqualTo(streamed.toString());
        assertThat(whole.ids()).startsWith(stopped.ids());
    }

    @Test
    void whatHasNoPlaceIsRefusedBeforeTheWork() {
        GenerationSettings settings = settings(SamplingSettings.GREEDY, 8);
        assertThatThrownBy(() -> run(cache(1, 64), List.of(new int[1024]), settings))
                .isInstanceOf(UserException.class)
                .hasMessage(
                        "a prompt of 1,024 tokens leaves none of the model's 1,024 positions for an"
                                + " answer");
        CacheSettings small = new CacheSettings(64, 1, 64, DType.F32, 0);
        assertThatThrownBy(() -> run(small, List.of(new int[60]), settings))
                .isInstanceOf(UserException.class)
                .hasMessageContaining(
                        "68 tokens of prompt and answer do not fit into a cache of 64");
        // The last position is used, and no more is asked of the model.
        Generation last = run(cache(1, 512), List.of(new int[1020]), settings).getFirst();
        assertThat(last.ids()).hasSize(4);
        assertThat(last.finish()).isEqualTo(Finish.LENGTH);
    }
}
