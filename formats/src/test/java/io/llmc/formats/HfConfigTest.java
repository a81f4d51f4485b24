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
        assertThat(c.integer("none", 9)).isEqualTo(9);
        assertThat(c.decimal("x", 0)).isEqualTo(1e-6);
        assertThat(c.decimal("absent", 2.5)).isEqualTo(2.5);
        assertThat(c.flag("yes", false)).isTrue();
        assertThat(c.flag("none", true)).isTrue();
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

    @Test
    void ropeWithoutAnyKeyIsTheDefault() {
        RopeConfig rope = config("{\"n_positions\": 32}").rope();
        assertThat(rope.type()).isEqualTo("default");
        assertThat(rope.theta()).isEqualTo(10_000);
        assertThat(rope.partialRotaryFactor()).isEqualTo(1);
        assertThat(rope.maxPositions()).isEqualTo(32);
        assertThat(rope.originalMaxPositions()).isEqualTo(32);
        assertThat(rope.parameters().isEmpty()).isTrue();
        assertThat(rope.numbers("long_factor")).isEmpty();
    }

    @Test
    void bothSpellingsOfYarnSayTheSame() {
        RopeConfig older =
                config(
                                """
                                {"max_position_embeddings": 64, "rope_theta": 5e5,
                                 "rope_scaling": {"type": "yarn", "factor": 4, "truncate": false,
                                  "original_max_position_embeddings": 16}}
                                """)
                        .rope();
        RopeConfig newer =
                config(
                                """
                                {"max_position_embeddings": 64,
                                 "rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5,
                                  "factor": 4, "truncate": false,
                                  "original_max_position_embeddings": 16}}
                                """)
                        .rope();
        for (RopeConfig rope : new RopeConfig[] {older, newer}) {
            assertThat(rope.type()).isEqualTo("yarn");
            assertThat(rope.theta()).isEqualTo(5e5);
            assertThat(rope.originalMaxPositions()).isEqualTo(16);
            assertThat(rope.maxPositions()).isEqualTo(64);
            assertThat(rope.number("factor", 1)).isEqualTo(4);
            assertThat(rope.number("beta_fast", 32)).isEqualTo(32);
            assertThat(rope.flag("truncate", true)).isFalse();
            assertThat(rope.number("rope_theta", 0)).isEqualTo(5e5);
        }
    }

    @Test
    void olderGemmaHasALocalBaseWithoutScaling() {
        HfConfig c =
                config(
                        """
                        {"model_type": "gemma3_text", "rope_theta": 1000000,
                         "rope_local_base_freq": 10000,
                         "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
                        """);
        assertThat(c.rope().type()).isEqualTo("linear");
        assertThat(c.rope().theta()).isEqualTo(1e6);
        assertThat(c.rope("full_attention")).isEqualTo(c.rope());
        assertThat(c.rope("sliding_attention").type()).isEqualTo("default");
        assertThat(c.rope("sliding_attention").theta()).isEqualTo(1e4);
    }

    @Test
    void layersMayRotateDifferently() {
        HfConfig c =
                config(
                        """
                        {"rope_parameters": {"full_attention": {"rope_theta": 7, "rope_type": "linear"},
                         "sliding_attention": {"rope_theta": 8, "rope_type": "default"}}}
                        """);
        assertThat(c.rope().theta()).isEqualTo(7);
        assertThat(c.rope("sliding_attention").theta()).isEqualTo(8);
        assertThatThrownBy(() -> c.rope("chunked_attention"))
                .hasMessageContaining("chunked_attention");
    }

    @Test
    void suIsAnOldNameOfLongrope() {
        RopeConfig rope =
                config(
                                """
                                {"max_position_embeddings": 128, "original_max_position_embeddings": 32,
                                 "rope_scaling": {"type": "su", "long_factor": [1.0, 2.5]}}
                                """)
                        .rope();
        assertThat(rope.type()).isEqualTo("longrope");
        assertThat(rope.originalMaxPositions()).isEqualTo(32);
        assertThat(rope.numbers("long_factor")).containsExactly(1, 2.5);
    }

    @Test
    void olderNeoXNamesAreTranslated() {
        RopeConfig rope = config("{\"rotary_pct\": 0.25, \"rotary_emb_base\": 500}").rope();
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
            assertSame(older.rope(layer), newer.rope(layer));
        }
        if (name.equals("phi3_longrope_short")) {
            HfConfig su = HfConfig.read(model.resolve("config.su.json"));
            assertSame(su.rope(), newer.rope());
            assertThat(su.rope().type()).isEqualTo("longrope");
        }
    }

    private static void assertSame(RopeConfig a, RopeConfig b) {
        assertThat(a.type()).isEqualTo(b.type());
        assertThat(a.theta()).isEqualTo(b.theta());
        assertThat(a.partialRotaryFactor()).isEqualTo(b.partialRotaryFactor());
        assertThat(a.originalMaxPositions()).isEqualTo(b.originalMaxPositions());
        assertThat(a.maxPositions()).isEqualTo(b.maxPositions());
        for (String key :
                new String[] {
                    "factor", "low_freq_factor", "beta_fast", "attention_factor", "mscale"
                }) {
            assertThat(a.number(key, -1)).as(key).isEqualTo(b.number(key, -1));
        }
        assertThat(a.numbers("long_factor")).isEqualTo(b.numbers("long_factor"));
        assertThat(a.flag("truncate", true)).isEqualTo(b.flag("truncate", true));
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
