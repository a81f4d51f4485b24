// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.FormatException;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What becomes of configs with missing, odd and hostile values, and of models whose config and
/// tensors disagree: transformers is the judge.
@Tag("long")
class ConfigValuesTest {
    private static final Backend CPU =
            new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));

    /// What transformers refuses or cannot compute, and llmc reads in the only way it can be meant.
    private static final Set<String> LENIENT = Set.of("{\"head_dim\":null}");

    @TempDir Path temp;

    @AfterAll
    static void close() {
        CPU.close();
    }

    static Stream<String> cases() throws IOException {
        return Files.readAllLines(TestFiles.testdata().resolve("config-values.jsonl")).stream();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void givesWhatTransformersGives(String line) throws IOException {
        JsonNode c = Tiny.JSON.readTree(line);
        Tiny tiny = new Tiny(c.path("model").textValue());
        ObjectNode config = tiny.config();
        c.path("config").properties().forEach(e -> config.set(e.getKey(), e.getValue()));
        c.path("absent").forEach(key -> config.remove(key.textValue()));
        Map<String, long[]> more = new HashMap<>();
        c.path("tensors")
                .properties()
                .forEach(e ->
                        more.put(
                                e.getKey(),
                                e.getValue().valueStream().mapToLong(JsonNode::asLong).toArray()));
        Set<String> without = new HashSet<>();
        c.path("without").forEach(name -> without.add(name.textValue()));
        Path model = tiny.write(temp.resolve("model"), config, more, without);
        JsonNode expected = c.path("logits");
        if (expected.isNull()) {
            if (!LENIENT.contains(c.path("config").toString())) {
                Set<String> words = new HashSet<>(without);
                Stream.of("config", "absent")
                        .flatMap(part -> words(c.path(part)))
                        .forEach(words::add);
                assertThatThrownBy(() -> logits(tiny, model))
                        .isInstanceOfAny(FormatException.class, UserException.class)
                        .satisfies(
                                e -> assertThat(words).anyMatch(w -> e.getMessage().contains(w)));
            }
            return;
        }
        float[] got = logits(tiny, model);
        for (int i = 0; i < expected.size(); i++) {
            assertThat((double) got[i])
                    .as("logit " + i)
                    .isCloseTo(expected.get(i).doubleValue(), within(1e-4));
        }
    }

    /// Every key of an object and of those in it, and every string of a list.
    private static Stream<String> words(JsonNode node) {
        return node.isArray()
                ? node.valueStream().map(JsonNode::asText)
                : node.properties().stream()
                        .flatMap(e -> Stream.concat(Stream.of(e.getKey()), words(e.getValue())));
    }

    private static float[] logits(Tiny tiny, Path model) {
        try (Checkpoint c = ModelDirectory.open(model, _ -> {})) {
            return Tiny.lastLogits(c, tiny.ids(), CPU);
        }
    }

    private static final List<String> POISON =
            List.of(
                    "0",
                    "1e-320",
                    "-1",
                    "3",
                    "1.5",
                    "1e9",
                    "9223372036854775808",
                    "1e400",
                    "\"3\"",
                    "\"10k\"",
                    "[]",
                    "{}",
                    "null",
                    "true",
                    "NaN",
                    "-Infinity");

    /// Every word of the sources that may be a key, so that a new one is tried too.
    private static SortedSet<String> keys(ObjectNode config) throws IOException {
        SortedSet<String> keys = new TreeSet<>();
        config.fieldNames().forEachRemaining(keys::add);
        Pattern word = Pattern.compile("\"([a-z]+(?:_[a-z]+)+)\"");
        Path root = TestFiles.root();
        List<Path> sources = new ArrayList<>();
        for (String folder :
                List.of(
                        "model/runtime/src/main/java/io/llmc/model/arch",
                        "formats/src/main/java/io/llmc/formats")) {
            try (Stream<Path> files = Files.list(root.resolve(folder))) {
                files.filter(f -> f.toString().matches(".*(arch/.*|HfConfig|RopeReader)\\.java"))
                        .forEach(sources::add);
            }
        }
        for (Path source : sources) {
            word.matcher(Files.readString(source)).results().forEach(m -> keys.add(m.group(1)));
        }
        keys.removeAll(Set.of("quantization_config", "compression_config"));
        return keys;
    }

    /// Whatever value a key has: the model as it was, another one that runs, or one sentence with
    /// the key, and that at once.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "tiny-llama",
                "tiny-qwen3",
                "tiny-gemma3_text",
                "tiny-phi3",
                "tiny-gpt2",
                "tiny-mixtral"
            })
    void everyKeyTakesEveryValue(String name) throws IOException {
        Tiny tiny = new Tiny(name);
        Path model = temp.resolve("model");
        Files.createDirectories(model);
        Files.copy(tiny.source().resolve("model.safetensors"), model.resolve("model.safetensors"));
        ModelSpec good;
        try (Checkpoint c = ModelDirectory.open(tiny.source(), _ -> {})) {
            good = Architectures.specOf(c);
        }
        int refused = 0;
        int ran = 0;
        for (String key : keys(tiny.config())) {
            for (String value : POISON) {
                ObjectNode config = tiny.config();
                config.put(key, "@");
                Files.writeString(
                        model.resolve("config.json"),
                        Tiny.JSON.writeValueAsString(config).replace("\"@\"", value));
                long start = System.nanoTime();
                try (Checkpoint c = ModelDirectory.open(model, _ -> {})) {
                    if (!Architectures.specOf(c).equals(good)) {
                        for (float logit : Tiny.lastLogits(c, tiny.ids(), CPU)) {
                            assertThat(logit).as("%s = %s", key, value).isFinite();
                        }
                        ran++;
                    }
                } catch (FormatException | UserException e) {
                    assertThat(e.getMessage()).as("%s = %s", key, value).contains(key);
                    refused++;
                }
                assertThat(System.nanoTime() - start)
                        .as("%s = %s", key, value)
                        .isLessThan(5_000_000_000L);
            }
        }
        assertThat(refused).isGreaterThan(100);
        assertThat(ran).isPositive();
    }

    @Test
    void everythingThatIsNotReadIsSaidInOneLine() throws IOException {
        Tiny tiny = new Tiny("tiny-llama");
        ObjectNode config = tiny.config();
        config.put("num_hidden_layers", 1);
        Path model =
                tiny.write(
                        temp.resolve("model"),
                        config,
                        Map.of(
                                "model.layers.0.self_attn.q_proj.bias", new long[] {64},
                                "model.layers.0.self_attn.rotary_emb.inv_freq", new long[] {8},
                                "score.weight", new long[] {2, 64}),
                        Set.of());
        List<String> notes = new ArrayList<>();
        try (Checkpoint c = ModelDirectory.open(model, notes::add)) {
            assertThat(notes).hasSize(2);
            assertThat(notes.get(0))
                    .contains("1 layers", "layer 1", "model.layers.0.self_attn.q_proj.bias");
            assertThat(notes.get(1)).contains("score.weight").doesNotContain("inv_freq");
            assertThat(c.names())
                    .contains("score.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")
                    .noneMatch(n -> n.startsWith("model.layers.1.") || n.endsWith("q_proj.bias"));
        }
    }

    @Test
    void theFilesHeadWinsAndTheConfigSaysSo() throws IOException {
        Tiny tiny = new Tiny("tiny-qwen3");
        Path model =
                tiny.write(
                        temp.resolve("model"),
                        tiny.config(),
                        Map.of("lm_head.weight", new long[] {256, 64}),
                        Set.of());
        List<String> notes = new ArrayList<>();
        try (Checkpoint c = ModelDirectory.open(model, notes::add)) {
            assertThat(notes).singleElement().asString().contains("tie_word_embeddings", "lm_head");
            assertThat(c.config().flag("tie_word_embeddings", true)).isFalse();
            assertThat(Architectures.specOf(c).tied()).isFalse();
        }
    }

    /// As torch.save writes a tied model: nothing to say.
    @Test
    void aHeadThatIsTheEmbeddingStaysTied() throws IOException {
        Tiny tiny = new Tiny("tiny-llama");
        ObjectNode config = tiny.config();
        config.put("tie_word_embeddings", true);
        String head = "lm_head.weight";
        Map<String, long[]> both =
                Map.of(
                        head,
                        new long[] {256, 64},
                        "model.embed_tokens.weight",
                        new long[] {256, 64});
        Path model = tiny.write(temp.resolve("model"), config, both, Set.of());
        assertThatCode(
                        () -> {
                            try (Checkpoint c =
                                    ModelDirectory.open(
                                            model,
                                            note -> {
                                                throw new AssertionError(note);
                                            })) {
                                assertThat(Architectures.specOf(c).tied()).isTrue();
                            }
                        })
                .doesNotThrowAnyException();
    }

    @Test
    void withoutAHeadItSaysWhatToDo() throws IOException {
        Tiny tiny = new Tiny("tiny-llama");
        Path model =
                tiny.write(
                        temp.resolve("model"), tiny.config(), Map.of(), Set.of("lm_head.weight"));
        assertThatThrownBy(() -> ModelDirectory.open(model, _ -> {}))
                .isInstanceOfSatisfying(
                        UserException.class, e -> assertThat(e.hint()).contains("set it to true"))
                .hasMessageContainingAll("lm_head.weight", "tie_word_embeddings");
    }
}
