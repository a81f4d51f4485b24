// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HfConfigTest {
    @TempDir Path directory;

    private HfConfig config(String json) {
        try {
            return HfConfig.read(Files.writeString(directory.resolve("config.json"), json));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void readsTypedValues() {
        HfConfig c =
                config(
                        """
                        {"model_type": "llama", "architectures": ["A", "B"], "n": 3, "whole": 4.0,
                         "x": 1e-6, "yes": true, "none": null, "ids": [1, 2], "id": 7}
                        """);
        assertThat(c.modelType()).isEqualTo("llama");
        assertThat(c.architectures()).containsExactly("A", "B");
        assertThat(c.integer("n")).isEqualTo(3);
        assertThat(c.integer("whole")).isEqualTo(4);
        assertThat(c.decimal("x", 0)).isEqualTo(1e-6);
        assertThat(c.decimal("absent", 2.5)).isEqualTo(2.5);
        assertThat(c.flag("yes", false)).isTrue();
        assertThat(c.mentions("none")).isTrue();
        assertThat(c.has("none")).isFalse();
        assertThat(c.integers("ids")).containsExactly(1, 2);
        assertThat(c.integers("id")).containsExactly(7);
        assertThat(c.integers("none")).isEmpty();
        assertThat(c.texts("model_type")).containsExactly("llama");
        assertThat(c.texts("absent")).isEmpty();
        assertThat(c.text("absent", "x")).isEqualTo("x");
    }

    @Test
    void namesFileKeyAndWhatWasExpected() {
        HfConfig c = config("{\"n\": \"three\", \"f\": 1, \"big\": 3000000000, \"half\": 1.5}");
        assertThatThrownBy(() -> c.integer("n"))
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll("config.json", "'n'", "\"three\"", "whole number");
        assertThatThrownBy(() -> c.integer("gone")).hasMessageContaining("has no 'gone'");
        assertThatThrownBy(() -> c.integer("big")).hasMessageContaining("below 2^31");
        assertThatThrownBy(() -> c.integer("half")).hasMessageContaining("whole number");
        assertThatThrownBy(() -> c.flag("f", true)).hasMessageContaining("true or false");
        assertThatThrownBy(() -> config("{\"f\": null}").flag("f", true))
                .hasMessageContaining("'f' is null, expected true or false");
        assertThatThrownBy(() -> c.texts("f")).hasMessageContaining("list of strings");
        assertThatThrownBy(() -> c.integers("n")).hasMessageContaining("'n'");
        assertThatThrownBy(c::modelType).hasMessageContaining("model_type");
    }

    @ParameterizedTest
    @CsvSource({
        "'{\"torch_dtype\": \"bfloat16\"}', BF16",
        "'{\"dtype\": \"float16\"}', F16",
        "'{\"dtype\": \"torch.bfloat16\"}', BF16",
        "'{\"torch_dtype\": \"float32\"}', F32",
        "'{\"torch_dtype\": null}', F32",
        "'{\"torch_dtype\": \"auto\"}', F32",
        "'{}', F32"
    })
    void readsTheDtype(String json, DType expected) {
        assertThat(config(json).dtype()).isEqualTo(expected);
    }

    @Test
    void refusesAnotherDtype() {
        assertThatThrownBy(() -> config("{\"dtype\": \"int8\"}").dtype())
                .hasMessageContaining("bfloat16");
    }

    /// Numbers that are none, or out of range.
    @ParameterizedTest
    @ValueSource(
            strings = {"\"1\"", "null", "true", "[1]", "{}", "NaN", "-Infinity", "0", "-1", "1e9"})
    void refusesWhatIsNoNumberInRange(String value) {
        HfConfig c = config("{\"n\": %s}".formatted(value));
        assertThatThrownBy(() -> c.integer("n", Range.upTo(1000), 1))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("expected a whole number from 1 to 1,000");
        assertThatThrownBy(() -> c.decimal("n", Range.above(0, 0.5), 1))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'n' is ")
                .hasMessageContaining("expected a number above 0 and at most 0.5");
    }

    private static final RopeConfig.Defaults DEFAULTS = RopeConfig.Defaults.of(10_000, 2048);

    private RopeConfig rope(String json) {
        return config(json).rope(DEFAULTS);
    }

    @Test
    void ropeWithoutAnyKeyIsTheDefault() {
        assertThat(rope("{\"n_positions\": 32}"))
                .isEqualTo(new RopeConfig(10_000, 1, 32, new RopeScaling.None()));
        assertThat(rope("{\"rope_scaling\": null, \"rope_parameters\": {}}"))
                .isEqualTo(new RopeConfig(10_000, 1, 2048, new RopeScaling.None()));
    }

    @Test
    void bothSpellingsOfYarnSayTheSame() {
        RopeConfig older =
                rope(
                        """
                        {"max_position_embeddings": 64, "rope_theta": 5e5,
                         "rope_scaling": {"type": "yarn", "factor": 4, "truncate": false,
                          "original_max_position_embeddings": 16}}
                        """);
        RopeConfig newer =
                rope(
                        """
                        {"max_position_embeddings": 64,
                         "rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5,
                          "factor": 4, "truncate": false,
                          "original_max_position_embeddings": 16}}
                        """);
        assertThat(older).isEqualTo(newer);
        assertThat(older)
                .isEqualTo(
                        new RopeConfig(
                                5e5,
                                1,
                                64,
                                new RopeScaling.Yarn(
                                        4, 32, 1, 0.1 * Math.log(4) + 1, 1, false, 16)));
    }

    /// What transformers 5.24 does: a factor that is null is the ratio of the lengths, other nulls
    /// are the defaults of the method, the length at the top of the file goes before the other.
    @Test
    void nullsOfYarn() {
        assertThat(
                        rope("""
                        {"max_position_embeddings": 64, "original_max_position_embeddings": 8,
                         "rope_scaling": {"rope_type": "yarn", "factor": null, "beta_fast": null,
                         "beta_slow": null, "attention_factor": null, "mscale": null,
                         "original_max_position_embeddings": 16}}
                        """)
                                .scaling())
                .isEqualTo(new RopeScaling.Yarn(8, 32, 1, 0.1 * Math.log(8) + 1, 1, true, 8));
    }

    @Test
    void scalesOfYarn() {
        String text =
                """
                {"max_position_embeddings": 64, "rope_scaling": {"rope_type": "yarn", "factor": 4,
                 "mscale": 2, "mscale_all_dim": 0.5%s}}
                """;
        assertThat(rope(text.formatted("")).scaling())
                .isEqualTo(
                        new RopeScaling.Yarn(
                                4,
                                32,
                                1,
                                (0.2 * Math.log(4) + 1) / (0.05 * Math.log(4) + 1),
                                Math.pow(0.05 * Math.log(4) + 1, 2),
                                true,
                                64));
        assertThat(rope(text.formatted(", \"attention_factor\": 3")).scaling())
                .isEqualTo(
                        new RopeScaling.Yarn(
                                4, 32, 1, 3, Math.pow(0.05 * Math.log(4) + 1, 2), true, 64));
    }

    /// Where transformers stops, or goes on with a number that is none.
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "rope_scaling.factor | 'rope_scaling': {'type': 'linear'}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'linear', 'factor': null}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'linear', 'factor': '8'}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'linear', 'factor': 0}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'linear', 'factor': NaN}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'dynamic'}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'yarn'}",
                "rope_scaling.factor | 'rope_scaling': {'type': 'llama3', 'low_freq_factor': 1,"
                        + " 'high_freq_factor': 4}",
                "rope_scaling.low_freq_factor | 'rope_scaling': {'type': 'llama3', 'factor': 8,"
                        + " 'high_freq_factor': 4}",
                "rope_scaling.high_freq_factor | 'rope_scaling': {'type': 'llama3', 'factor': 8,"
                        + " 'low_freq_factor': 1}",
                "rope_scaling.long_factor | 'rope_scaling': {'type': 'su', 'short_factor': [1]}",
                "rope_scaling.short_factor | 'rope_scaling': {'type': 'su', 'long_factor': [1]}",
                "rope_scaling.long_factor | 'rope_scaling': {'type': 'su', 'long_factor': [1, NaN],"
                        + " 'short_factor': [1, 1]}",
                "rope_scaling.type | 'rope_scaling': {'type': 7}",
                "rope_scaling.rope_type | 'rope_scaling': {'rope_type': null, 'factor': 8}",
                "rope_parameters.factor | 'rope_parameters': {'rope_type': 'linear', 'factor':"
                        + " [8]}",
                "rope_parameters.rope_theta | 'rope_parameters': {'rope_theta': null}",
                "rope_scaling | 'rope_scaling': 8",
                "rope_theta | 'rope_theta': '10k'",
                "rope_theta | 'rope_theta': [10000]",
                "rope_theta | 'rope_theta': null",
                "rope_theta | 'rope_theta': 0",
                "partial_rotary_factor | 'partial_rotary_factor': 1.5",
                "original_max_position_embeddings | 'original_max_position_embeddings': -1,"
                        + " 'rope_scaling': {'type': 'yarn', 'factor': 2}",
                "max_position_embeddings | 'max_position_embeddings': 0"
            })
    void refusesWhatRotatesNothing(String key, String text) {
        assertThatThrownBy(() -> rope("{%s}".formatted(text).replace('\'', '"')))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'" + key + "'");
    }

    @Test
    void unknownScaling() {
        assertThatThrownBy(() -> rope("{\"rope_scaling\": {\"rope_type\": \"ntk\"}}"))
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll("config.json", "rope_scaling.rope_type", "ntk");
    }

    /// As transformers 5 has it: `rope_scaling` goes before `rope_parameters`.
    @Test
    void theOlderSpellingGoesFirst() {
        assertThat(
                        rope(
                                """
                                {"rope_scaling": {"type": "linear", "factor": 2},
                                 "rope_parameters": {"rope_type": "linear", "factor": 8, "rope_theta": 5}}
                                """))
                .isEqualTo(new RopeConfig(10_000, 1, 2048, new RopeScaling.Linear(2)));
    }

    private static final RopeConfig.Defaults GEMMA =
            new RopeConfig.Defaults(1_000_000, 10_000, 131_072, 0);

    @Test
    void olderGemmaHasALocalBaseWithoutScaling() {
        HfConfig c =
                config(
                        """
                        {"model_type": "gemma3_text", "rope_theta": 2000000,
                         "rope_local_base_freq": 20000,
                         "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
                        """);
        assertThat(c.rope(GEMMA))
                .isEqualTo(new RopeConfig(2e6, 1, 131_072, new RopeScaling.Linear(8)));
        assertThat(c.rope("full_attention", GEMMA)).isEqualTo(c.rope(GEMMA));
        assertThat(c.rope("sliding_attention", GEMMA))
                .isEqualTo(new RopeConfig(2e4, 1, 131_072, new RopeScaling.None()));
        assertThat(config("{}").rope("sliding_attention", GEMMA).theta()).isEqualTo(1e4);
        assertThat(config("{}").rope("full_attention", GEMMA).theta()).isEqualTo(1e6);
        assertThatThrownBy(() ->
                        config("{\"rope_parameters\": {\"rope_theta\": 5}}")
                                .rope("sliding_attention", GEMMA))
                .hasMessageContainingAll("'rope_parameters'", "sliding_attention");
    }

    @Test
    void layersMayRotateDifferently() {
        HfConfig c =
                config(
                        """
                        {"rope_parameters": {"full_attention":
                         {"rope_theta": 7, "rope_type": "linear", "factor": 2},
                         "sliding_attention": {"rope_theta": 8, "rope_type": "default"}}}
                        """);
        assertThat(c.rope(DEFAULTS).theta()).isEqualTo(7);
        assertThat(c.rope(DEFAULTS).scaling()).isEqualTo(new RopeScaling.Linear(2));
        assertThat(c.rope("sliding_attention", DEFAULTS).theta()).isEqualTo(8);
        assertThatThrownBy(() -> c.rope("chunked_attention", DEFAULTS))
                .hasMessageContaining("chunked_attention");
    }

    @Test
    void suIsAnOldNameOfLongrope() {
        RopeConfig rope =
                rope(
                        """
                        {"max_position_embeddings": 128, "original_max_position_embeddings": 32,
                         "rope_scaling": {"type": "su", "long_factor": [1.0, 2.5],
                         "short_factor": [1, 1]}}
                        """);
        assertThat(rope.scaling())
                .isEqualTo(
                        new RopeScaling.LongRope(
                                List.of(1.0, 1.0),
                                List.of(1.0, 2.5),
                                Math.sqrt(1 + Math.log(4) / Math.log(32)),
                                Math.sqrt(1 + Math.log(4) / Math.log(32)),
                                32));
    }

    @Test
    void olderNeoXNamesAreTranslated() {
        RopeConfig rope = rope("{\"rotary_pct\": 0.25, \"rotary_emb_base\": 500}");
        assertThat(rope.theta()).isEqualTo(500);
        assertThat(rope.partialRotaryFactor()).isEqualTo(0.25);
    }

    /// The published spelling, the one of transformers 5, and the old name of longrope.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "llama",
                "llama_rope_llama3",
                "llama_rope_yarn",
                "llama_rope_linear",
                "llama_rope_dynamic",
                "phi3",
                "phi3_longrope",
                "phi3_longrope_short",
                "gemma3_text",
                "gpt_neox",
                "glm",
                "olmo3",
                "gpt_oss",
                "deepseek_v3",
                "qwen3",
                "qwen3_next"
            })
    void spellingsOfPublishedModelsAgree(String name) {
        Path model = Oracles.require("architectures/" + name);
        HfConfig older = HfConfig.read(model.resolve("config.json"));
        HfConfig newer = HfConfig.read(model.resolve("config.v5.json"));
        assertThat(older.dtype()).isEqualTo(newer.dtype());
        for (String layer : new String[] {"full_attention", "sliding_attention"}) {
            assertThat(older.rope(layer, DEFAULTS)).isEqualTo(newer.rope(layer, DEFAULTS));
        }
        if (name.equals("phi3_longrope_short")) {
            HfConfig su = HfConfig.read(model.resolve("config.su.json"));
            assertThat(su.rope(DEFAULTS)).isEqualTo(newer.rope(DEFAULTS));
            assertThat(su.rope(DEFAULTS).scaling()).isInstanceOf(RopeScaling.LongRope.class);
        }
    }

    @Test
    void keepsUnknownKeysAndTheirOrder() throws IOException {
        String text =
                """
                {
                  "zeta": 1.0E-6,
                  "alpha": {
                    "list": [
                      1,
                      2.0
                    ],
                    "empty": {},
                    "none": []
                  },
                  "limit": Infinity,
                  "theta": 10000.0,
                  "null": null,
                  "name": "Ä"
                }
                """;
        HfConfig c = config(text);
        Path out = directory.resolve("out.json");
        c.write(out);
        assertThat(Files.readString(out)).isEqualTo(text);
    }

    @Test
    void changesAreCopies() {
        HfConfig c = config("{\"a\": 1, \"b\": 2, \"c\": 3}");
        HfConfig changed =
                c.with("b", IntNode.valueOf(5)).with("a", null).with("d", new TextNode("x"));
        assertThat(c.integer("b")).isEqualTo(2);
        assertThat(changed.integer("b")).isEqualTo(5);
        assertThat(changed.json().fieldNames()).toIterable().containsExactly("b", "c", "d");
        ObjectNode copy = changed.json();
        copy.put("b", 99);
        assertThat(changed.integer("b")).isEqualTo(5);
    }
}
