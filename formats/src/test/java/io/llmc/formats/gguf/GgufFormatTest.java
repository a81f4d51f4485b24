// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import static io.llmc.formats.gguf.GgufBytes.bytes;
import static io.llmc.formats.gguf.GgufBytes.ramp;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class GgufFormatTest {
    private static final long[] ROW = {32};
    private static final String EMBEDDING = "model.embed_tokens.weight";

    @TempDir Path temp;

    private Path write(GgufBytes bytes) throws IOException {
        return Files.write(temp.resolve("model.gguf"), bytes.toBytes());
    }

    private static float[] floats(Tensor t) {
        float[] values = new float[Math.toIntExact(t.shape().size())];
        for (int i = 0; i < values.length; i++) {
            values[i] = Floats.get(t.bytes(), t.dtype(), i);
        }
        return values;
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3})
    void readsConfigAndTensorsUnderTheNamesOfTheHub(int version) throws IOException {
        Path file =
                write(
                        GgufBytes.llama()
                                .version(version)
                                .u32("tokenizer.ggml.eos_token_id", 2)
                                .f32("output_norm.weight", ROW, ramp(32)));
        for (Path path : List.of(file, temp)) {
            try (Checkpoint c = Checkpoint.open(path);
                    TensorReader reader = c.reader()) {
                HfConfig config = c.config();
                assertThat(config.modelType()).isEqualTo("llama");
                assertThat(config.architectures()).containsExactly("LlamaForCausalLM");
                assertThat(config.integer("num_hidden_layers")).isEqualTo(1);
                assertThat(config.integer("hidden_size")).isEqualTo(32);
                assertThat(config.integer("intermediate_size")).isEqualTo(32);
                assertThat(config.integer("num_attention_heads")).isEqualTo(4);
                assertThat(config.integer("num_key_value_heads")).isEqualTo(2);
                assertThat(config.integer("head_dim")).isEqualTo(4);
                assertThat(config.integer("vocab_size")).isEqualTo(3);
                assertThat(config.integer("eos_token_id")).isEqualTo(2);
                assertThat(config.flag("tie_word_embeddings", false)).isTrue();
                assertThat(config.decimal("rms_norm_eps", 0)).isEqualTo(1e-5);
                assertThat(config.rope(RopeConfig.Defaults.of(1, 1)).theta()).isEqualTo(10000);
                assertThat(c.names()).containsExactly(EMBEDDING, "model.norm.weight");
                assertThat(c.weightFiles()).containsExactly(file);
                assertThat(c.directory()).isEqualTo(temp);
                assertThat(reader.tensor(EMBEDDING).is(3, 32)).isTrue();
                assertThat(floats(reader.tensor(EMBEDDING))).isEqualTo(ramp(96));
            }
        }
    }

    @Test
    void aDirectoryWithSafetensorsIsNotReadAsGguf() throws IOException {
        write(GgufBytes.llama());
        Path model = TestFiles.testdata().resolve("tiny-llama");
        for (String name : List.of("config.json", "model.safetensors")) {
            Files.copy(model.resolve(name), temp.resolve(name));
        }
        try (Checkpoint c = Checkpoint.open(temp)) {
            assertThat(c.weightFiles()).containsExactly(temp.resolve("model.safetensors"));
        }
    }

    @Test
    void refusesToChooseAmongFiles() throws IOException {
        write(GgufBytes.llama());
        Files.write(temp.resolve("other.gguf"), GgufBytes.llama().toBytes());
        assertThatThrownBy(() -> Checkpoint.open(temp).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("cannot tell which of 2 GGUF files");
        Path part = Files.createFile(temp.resolve("x-00001-of-00002.gguf"));
        assertThatThrownBy(() -> Checkpoint.open(part).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is a part of a GGUF file");
    }

    /// A row of two blocks: every byte with a large, a small and a negative scale.
    @Test
    void blocksOfQ80AreTheirScaleTimesTheirCodes() throws IOException {
        float[] scales = {0.5f, 6e-8f, -3.25f, 0, 65504, 1, 1, 1};
        ByteBuffer data = bytes(8 * 34);
        float[] expected = new float[8 * 32];
        for (int i = 0; i < expected.length; i++) {
            if (i % 32 == 0) {
                data.putShort(Float.floatToFloat16(scales[i / 32]));
            }
            data.put((byte) i);
            expected[i] = Floats.roundToF16(scales[i / 32]) * (byte) i;
        }
        Path file = write(GgufBytes.llama().tensor("output.weight", 8, new long[] {64, 4}, data));
        try (Checkpoint c = Checkpoint.open(file);
                TensorReader reader = c.reader()) {
            assertThat(c.info("lm_head.weight").dtype()).isEqualTo(DType.F32);
            assertThat(reader.tensor("lm_head.weight").is(4, 64)).isTrue();
            assertThat(floats(reader.tensor("lm_head.weight"))).isEqualTo(expected);
        }
    }

    @Test
    void halvesAreReadAsTheyAre() throws IOException {
        ByteBuffer halves = bytes(64);
        ByteBuffer brains = bytes(64);
        for (int i = 0; i < 32; i++) {
            halves.putShort(Float.floatToFloat16(i));
            brains.putShort(Floats.floatToBf16(i));
        }
        Path file =
                write(
                        GgufBytes.llama()
                                .tensor("output_norm.weight", 1, ROW, halves)
                                .tensor("blk.0.attn_norm.weight", 30, ROW, brains));
        try (Checkpoint c = Checkpoint.open(file);
                TensorReader reader = c.reader()) {
            assertThat(c.info("model.norm.weight").dtype()).isEqualTo(DType.F16);
            assertThat(floats(reader.tensor("model.norm.weight"))).isEqualTo(ramp(32));
            String norm = "model.layers.0.input_layernorm.weight";
            assertThat(c.info(norm).dtype()).isEqualTo(DType.BF16);
            assertThat(floats(reader.tensor(norm))).isEqualTo(ramp(32));
        }
    }

    /// What llama.cpp's converter does: `reshape(heads, 2, d/2, in).swapaxes(1, 2)`.
    @Test
    void theOrderOfRowsOfQueriesAndKeysIsUndone() throws IOException {
        int heads = 4;
        int d = 4;
        float[] stored = new float[heads * d * 2];
        for (int h = 0; h < heads; h++) {
            for (int i = 0; i < d / 2; i++) {
                for (int j = 0; j < 2; j++) {
                    int hub = h * d + j * d / 2 + i;
                    int row = h * d + 2 * i + j;
                    stored[2 * row] = 2 * hub;
                    stored[2 * row + 1] = 2 * hub + 1;
                }
            }
        }
        long[] dims = {2, 16};
        float[] keys = Arrays.copyOf(stored, 16);
        Path file =
                write(
                        GgufBytes.llama()
                                .f32("blk.0.attn_q.weight", dims, stored)
                                .f32("blk.0.attn_k.weight", new long[] {2, 8}, keys)
                                .f32("blk.0.attn_v.weight", dims, stored));
        try (Checkpoint c = Checkpoint.open(file);
                TensorReader reader = c.reader()) {
            String p = "model.layers.0.self_attn.";
            assertThat(floats(reader.tensor(p + "q_proj.weight"))).isEqualTo(ramp(32));
            assertThat(floats(reader.tensor(p + "k_proj.weight"))).isEqualTo(ramp(16));
            assertThat(floats(reader.tensor(p + "v_proj.weight"))).isEqualTo(stored);
        }
    }

    static Stream<Arguments> broken() {
        return Stream.of(
                arguments("GGUF version 1", GgufBytes.llama().version(1)),
                arguments("version 3, big-endian", GgufBytes.llama().version(3 << 24)),
                arguments("has no 'general.architecture'", new GgufBytes()),
                arguments(
                        "general.architecture is \"mamba\"",
                        GgufBytes.llama().text("general.architecture", "mamba")),
                arguments("has no tensor 'token_embd.weight'", without("token_embd.weight")),
                arguments(
                        "the key 'llama.expert_count'",
                        GgufBytes.llama().u32("llama.expert_count", 8)),
                arguments(
                        "'llama.attention.value_length' is 8",
                        GgufBytes.llama().u32("llama.attention.value_length", 8)),
                arguments(
                        "'llama.attention.head_count' is 4294967295",
                        GgufBytes.llama().u32("llama.attention.head_count", -1)),
                arguments("\"yarn\"", GgufBytes.llama().text("llama.rope.scaling.type", "yarn")),
                arguments("'general.alignment' is 48", GgufBytes.llama().alignment(48)),
                arguments("unknown type 13", GgufBytes.llama().key("x", 13, bytes(8))),
                arguments("a list of lists", GgufBytes.llama().key("x", 9, bytes(12).putInt(9))),
                arguments(
                        "neither true nor", GgufBytes.llama().key("x", 7, bytes(1).put((byte) 2))),
                arguments(
                        "18446744073709551615 elements",
                        GgufBytes.llama().key("x", 9, bytes(12).putInt(4).putLong(-1))),
                arguments(
                        "1000000 bytes of text",
                        GgufBytes.llama().key("x", 8, bytes(8).putLong(1_000_000))),
                arguments(
                        "the tensor 'blk.0.ssm_a.weight'",
                        GgufBytes.llama().f32("blk.0.ssm_a.weight", ROW, ramp(32))),
                arguments("'output.weight' is Q4_K", tensor(12, 256, 1)),
                arguments("'output.weight' is type 99", tensor(99, 256, 1)),
                arguments(
                        "[1, 33], expected a matrix with rows of a multiple of 32",
                        tensor(8, 33, 1)),
                arguments("a dimension of 0", tensor(0, 32, 0)),
                arguments("more elements than fit", tensor(0, 1L << 40, 1L << 40)),
                arguments("more elements than fit", tensor(8, 1L << 40, 1L << 21)),
                arguments("Q8_0[32], expected a matrix", tensor(8, 32)),
                arguments("goes on beyond the end", tensor(0, 1000, 1000)),
                arguments("has 5 dimensions", tensor(0, 1, 1, 1, 1, 1)),
                arguments(
                        "overlap or leave a hole",
                        GgufBytes.llama().tensor("output.weight", 0, ROW, -32, bytes(128))),
                arguments(
                        "has 6 rows, expected 2 heads",
                        GgufBytes.llama().f32("blk.0.attn_k.weight", new long[] {1, 6}, ramp(6))));
    }

    private static GgufBytes without(String name) {
        return GgufBytes.llama().without(name);
    }

    private static GgufBytes tensor(int type, long... dims) {
        return GgufBytes.llama().tensor("output.weight", type, dims, bytes(64));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource
    void broken(String sentence, GgufBytes bytes) throws IOException {
        Path file = write(bytes);
        assertThatThrownBy(() -> Checkpoint.open(file).close())
                .isInstanceOfAny(FormatException.class, UserException.class)
                .hasMessageStartingWith(file.toString())
                .hasMessageContaining(sentence);
    }

    @Test
    void everyShorterFileIsRefused() throws IOException {
        byte[] whole = GgufBytes.llama().toBytes();
        for (int length = 0; length < whole.length; length++) {
            Path file = Files.write(temp.resolve("cut.gguf"), Arrays.copyOf(whole, length));
            assertThatThrownBy(() -> Checkpoint.open(file).close())
                    .as("%d bytes", length)
                    .isInstanceOfAny(FormatException.class, UserException.class);
        }
    }

    /// What llama.cpp's converter made of checkpoints of the hub is read back as these.
    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen2", "qwen3"})
    void undoesTheConverter(String name) {
        Path file = TestFiles.shared("oracles/gguf/convert/" + name + ".gguf");
        Path hub = TestFiles.shared("oracles/architectures/" + name);
        assumeTrue(Files.exists(file) && Files.exists(hub), "no oracles beside the checkout");
        try (Checkpoint ours = Checkpoint.open(file);
                Checkpoint original = Checkpoint.open(hub);
                TensorReader reader = ours.reader();
                TensorReader expected = original.reader()) {
            Set<String> names = new HashSet<>(original.names());
            names.removeIf(n -> n.endsWith("rotary_emb.inv_freq"));
            if (!ours.has("lm_head.weight")) {
                names.remove("lm_head.weight");
            }
            assertThat(ours.names()).containsExactlyInAnyOrderElementsOf(names);
            for (String n : names) {
                assertThat(floats(reader.tensor(n))).as(n).isEqualTo(floats(expected.tensor(n)));
            }
            for (String key :
                    List.of(
                            "hidden_size",
                            "num_key_value_heads",
                            "vocab_size",
                            "num_hidden_layers")) {
                assertThat(ours.config().integer(key))
                        .as(key)
                        .isEqualTo(original.config().integer(key));
            }
            assertThat(ours.config().decimal("rms_norm_eps", 0))
                    .isEqualTo(original.config().decimal("rms_norm_eps", 1e-6));
        }
    }
}
