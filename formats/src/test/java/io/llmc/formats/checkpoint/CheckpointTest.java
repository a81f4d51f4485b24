// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import static io.llmc.formats.Fixture.CONFIG;
import static io.llmc.formats.Fixture.entry;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.MemoryBudget;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
    @TempDir Path directory;

    @BeforeEach
    void config() throws IOException {
        write("config.json", CONFIG);
    }

    private void write(String name, String text) throws IOException {
        Files.writeString(directory.resolve(name), text);
    }

    private void shard(String file, String... tensors) throws IOException {
        StringBuilder header = new StringBuilder("{");
        for (int i = 0; i < tensors.length; i++) {
            header.append(i == 0 ? "" : ",")
                    .append(entry(tensors[i], "U8", "[3]", 3L * i, 3L * i + 3));
        }
        Fixture.raw(directory.resolve(file), header + "}", 3 * tensors.length);
    }

    private void index(String map) throws IOException {
        write("model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":{" + map + "}}");
    }

    private AbstractThrowableAssert<?, ?> opening() {
        return assertThatThrownBy(() -> Checkpoint.open(directory).close());
    }

    @Test
    void copiesAreOfTheFileAsItWas() throws IOException {
        shard("model.safetensors", "b", "a");
        Path file = directory.resolve("model.safetensors");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader(MemoryBudget.NONE, Holding.COPIED)) {
            Tensor a = r.tensor("a");
            byte[] whole = Files.readAllBytes(file);
            whole[whole.length - 1]++;
            Files.write(file, whole);
            assertThat(a.bytes().toArray(ValueLayout.JAVA_BYTE)).containsExactly(3, 4, 5);
            assertThat(a.bytes().isReadOnly()).isTrue();
            assertThat(a.bytes().isMapped()).isFalse();
        }
    }

    @Test
    void opensOneFile() throws IOException {
        shard("model.safetensors", "b", "a");
        shard("logits.safetensors", "other");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(c.names()).containsExactly("b", "a");
            assertThat(c.has("a")).isTrue();
            assertThat(c.has("other")).isFalse();
            assertThat(c.weightFiles()).containsExactly(directory.resolve("model.safetensors"));
            assertThat(c.config().modelType()).isEqualTo("llama");
            assertThat(r.tensor("a").bytes().toArray(ValueLayout.JAVA_BYTE))
                    .containsExactly(3, 4, 5);
            assertThat(r.tensor("a").bytes().isReadOnly()).isTrue();
            assertThat(r.tensor("a").bytes().isMapped()).isTrue();
            assertThat(r.tensor("a")).isSameAs(r.tensor("a"));
            assertThatThrownBy(() -> c.info("c"))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(directory.toString(), "'c'");
        }
    }

    @Test
    void opensShardsOfAnIndexInTheOrderOfTheirNames() throws IOException {
        shard("model-00002-of-00002.safetensors", "a");
        shard("model-00001-of-00002.safetensors", "z", "unlisted");
        index(
                "\"a\":\"model-00002-of-00002.safetensors\",\"z\":\"model-00001-of-00002.safetensors\"");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly("z", "unlisted", "a");
            assertThat(c.weightFiles()).hasSize(2);
        }
    }

    @Test
    void opensShardsWithoutAnIndexWhereAllAreThere() throws IOException {
        shard("model-00001-of-00002.safetensors", "a");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("1 of 2 shards");
        shard("model-00002-of-00002.safetensors", "b");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly("a", "b");
        }
    }

    @Test
    void opensASingleFileOfAnotherName() throws IOException {
        shard("gptq_model-4bit-128g.safetensors", "a");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly("a");
        }
        shard("second.safetensors", "a");
        opening().isInstanceOf(UserException.class).hasMessageContaining("cannot tell");
    }

    @Test
    void unmapsWhatItMappedWhenClosed() throws IOException {
        shard("model.safetensors", "a");
        try (Checkpoint c = Checkpoint.open(directory)) {
            Tensor tensor;
            try (TensorReader r = c.reader()) {
                tensor = r.tensor("a");
                assertThat(tensor.buffer().isAlive()).isTrue();
            }
            assertThat(tensor.buffer().isAlive()).isFalse();
            assertThatThrownBy(() -> tensor.bytes().get(ValueLayout.JAVA_BYTE, 0))
                    .isInstanceOf(IllegalStateException.class);
        }
    }

    @Test
    void mapsEmptyTensorsAndScalarsAndAlignsTheRest() throws IOException {
        String header =
                "{%s,%s,%s,%s}"
                        .formatted(
                                entry("byte", "U8", "[1]", 0, 1),
                                entry("empty", "F32", "[0,3]", 1, 1),
                                entry("scalar", "F32", "[]", 1, 5),
                                entry("codes", "I32", "[2,1]", 5, 13));
        header += " ".repeat((8 - header.length() % 8) % 8);
        Fixture.raw(directory.resolve("model.safetensors"), header, 13);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(r.tensor("empty").byteSize()).isZero();
            assertThat(r.tensor("scalar").shape().rank()).isZero();
            assertThat(r.tensor("codes").bytes().address() % 4).isZero();
            assertThat(r.tensor("codes").bytes().toArray(ValueLayout.JAVA_INT))
                    .containsExactly(0x08070605, 0x0c0b0a09);
        }
    }

    @Test
    void saysWhatIsMissing() throws IOException {
        opening()
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll(directory.toString(), "no .safetensors weights");
        write("pytorch_model.bin", "");
        opening()
                .isInstanceOf(UserException.class)
                .hasMessageContaining("only pytorch_model.bin")
                .extracting(e -> ((UserException) e).hint())
                .asString()
                .contains("convert them to safetensors first");
        Files.delete(directory.resolve("config.json"));
        opening().isInstanceOf(UserException.class).hasMessageContaining("no config.json");
        assertThatThrownBy(() -> Checkpoint.open(directory.resolve("absent")).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("no such directory");
        assertThatThrownBy(() -> Checkpoint.open(directory.resolve("pytorch_model.bin")).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is a file");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "../model.safetensors",
                "sub/model.safetensors",
                "sub\\\\model.safetensors",
                "/tmp/model.safetensors",
                "C:model.safetensors",
                "..",
                ".",
                "",
                "model.bin",
                "a\\u0000.safetensors",
            })
    void refusesShardNamesThatAreNotPlainFileNames(String name) throws IOException {
        Path inside = Files.createDirectory(directory.resolve("model"));
        Files.copy(directory.resolve("config.json"), inside.resolve("config.json"));
        shard("model.safetensors", "a");
        Files.writeString(
                inside.resolve("model.safetensors.index.json"),
                "{\"weight_map\":{\"a\":\"" + name + "\"}}");
        assertThatThrownBy(() -> Checkpoint.open(inside).close())
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("not the plain name of a .safetensors file");
    }

    @Test
    void refusesAnIndexOfMissingShards() throws IOException {
        shard("one.safetensors", "a");
        index("\"a\":\"one.safetensors\",\"b\":\"three.safetensors\"");
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll("three.safetensors", "not in the directory");
        index("\"a\":\"three.safetensors\"");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("three.safetensors");
        Files.createDirectory(directory.resolve("three.safetensors"));
        opening().isInstanceOf(UserException.class).hasMessageContaining("is a directory");
        index("\"a\":5");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("'5'");
        index("\"a\":null");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("'null'");
        index("");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("weight_map");
        write("model.safetensors.index.json", "{\"weight_map\":[]}");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("weight_map");
        write("model.safetensors.index.json", "[]");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("JSON object");
    }

    @Test
    void believesTheShardsRatherThanTheirIndex() throws IOException {
        shard("one.safetensors", "a");
        shard("two.safetensors", "b");
        index("\"b\":\"one.safetensors\",\"a\":\"two.safetensors\",\"c\":\"two.safetensors\"");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(c.names()).containsExactly("a", "b");
            assertThat(c.file("a")).hasFileName("one.safetensors");
            assertThat(r.tensor("b").byteSize()).isEqualTo(3);
            assertThatThrownBy(() -> c.info("c"))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(
                            "index.json", "'c' lies in two.safetensors", "no shard has it");
        }
    }

    @Test
    void looksIntoTheOtherShardsForWhatAnIndexPromises() throws IOException {
        shard("model-00001-of-00002.safetensors", "a");
        shard("model-00002-of-00002.safetensors", "b", "unlisted");
        shard("consolidated.safetensors", "b");
        String first = "model-00001-of-00002.safetensors";
        index("\"a\":\"%s\",\"b\":\"%s\"".formatted(first, first));
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly("a", "b");
            assertThat(c.file("b")).hasFileName("model-00002-of-00002.safetensors");
            assertThat(c.weightFiles()).hasSize(2);
        }
        index("\"a\":\"%s\"".formatted(first));
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).as("nothing is missing").containsExactly("a");
            assertThat(c.weightFiles()).hasSize(1);
        }
    }

    @Test
    void readsTheSeriesThatTransformersKnows() throws IOException {
        shard("consolidated-00001-of-00001.safetensors", "x");
        shard("adapter_model.safetensors", "lora");
        shard("._model-00001-of-00002.safetensors", "junk");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly("x");
        }
        shard("model-00001-of-00002.safetensors", "a");
        shard("model-00002-of-00002.safetensors", "b");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly("a", "b");
        }
        shard("model-00001-of-00003.safetensors", "a");
        opening().isInstanceOf(UserException.class).hasMessageContaining("cannot tell");
    }

    @Test
    void namesDownloadsThatDidNotFinish() throws IOException {
        write("model.safetensors.incomplete", "");
        opening()
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll("unfinished", "model.safetensors.incomplete");
    }

    @Test
    void refusesATensorInTwoShardsWithOtherValues() throws IOException {
        shard("model-00001-of-00002.safetensors", "a");
        shard("model-00002-of-00002.safetensors", "b", "a");
        index(
                "\"a\":\"model-00002-of-00002.safetensors\",\"b\":\"model-00002-of-00002.safetensors\"");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).as("the index names one file only").containsExactly("b", "a");
        }
        shard("model-00001-of-00002.safetensors", "a", "c");
        index(
                "\"a\":\"model-00002-of-00002.safetensors\",\"c\":\"model-00001-of-00002.safetensors\"");
        opening().isInstanceOf(FormatException.class).hasMessageContainingAll("'a'", "also in");
        Files.delete(directory.resolve("model.safetensors.index.json"));
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll("'a'", "also in", "00001");
        shard("model-00002-of-00002.safetensors", "a", "b");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).as("the same bytes").containsExactly("a", "c", "b");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "module.model.layers.0.mlp.up_proj.weight, model.layers.0.mlp.up_proj.weight",
        "_orig_mod.model.norm.weight, model.norm.weight",
        "module._orig_mod.model.norm.weight, model.norm.weight",
        "_orig_mod.module.model.norm.weight, model.norm.weight",
        "module.module.lm_head.weight, lm_head.weight",
        "model.layers.0._orig_mod.mlp.up_proj.weight, model.layers.0.mlp.up_proj.weight",
        "_fsdp_wrapped_module.model.layers.1._fsdp_wrapped_module.x, model.layers.1.x",
        "model.layers.1._checkpoint_wrapped_module.mlp.b.bias, model.layers.1.mlp.b.bias",
        "language_model.model.embed_tokens.weight, model.embed_tokens.weight",
        "language_model.lm_head.weight, lm_head.weight",
        "model.language_model.layers.7.x, model.layers.7.x",
        "base_model.model.model.norm.weight, model.norm.weight",
        "model.model.embed_tokens.weight, model.embed_tokens.weight",
        "model.lm_head.weight, lm_head.weight",
        "embed_tokens.weight, model.embed_tokens.weight",
        "layers.3.self_attn.q_proj.qweight, model.layers.3.self_attn.q_proj.qweight",
        "norm.weight, model.norm.weight",
        "module.transformer.h.0.ln_1.bias, transformer.h.0.ln_1.bias",
        "_orig_mod.wte.weight, wte.weight",
        "module.score.weight, score.weight"
    })
    void readsTensorsUnderTheNamesOfTheHub(String found, String hub) throws IOException {
        shard("model.safetensors", found);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(c.names()).containsExactly(hub);
            assertThat(c.info(hub).name()).isEqualTo(hub);
            assertThat(r.tensor(hub).byteSize()).isEqualTo(3);
            assertThat(c.remarks()).singleElement().asString().contains(found, hub);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model.layers.0.mlp.up_proj.weight",
                "lm_head.weight",
                "transformer.h.0.attn.c_attn.weight",
                "h.0.attn.c_attn.weight",
                "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
                "model.decoder.layers.0.fc1.weight",
                "model.visual.blocks.0.norm1.weight",
                "norm",
                "module"
            })
    void leavesOtherNamesAlone(String name) throws IOException {
        shard("model.safetensors", name);
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.names()).containsExactly(name);
            assertThat(c.remarks()).isEmpty();
        }
    }

    @Test
    void refusesTwoTensorsThatStandForOne() throws IOException {
        shard("model.safetensors", "model.norm.weight", "module.model.norm.weight");
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll("'model.norm.weight'", "'module.model.norm.weight'");
    }

    @Test
    void saysWhatThereIsInThePlaceOfAMissingTensor() throws IOException {
        shard("model.safetensors", "other.x", "foo.model.norm.weight");
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThatThrownBy(() -> c.info("model.norm.weight"))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(
                            "'model.norm.weight'", "'foo.model.norm.weight'", "prefix");
            assertThatThrownBy(() -> c.info("lm_head.weight"))
                    .hasMessageContainingAll("'lm_head.weight'", "'other.x'", "the whole model?");
        }
    }

    @Test
    void readsDoublesAsFloats() throws IOException {
        Path file = directory.resolve("model.safetensors");
        Fixture.raw(file, "{" + entry("a", "F64", "[2]", 0, 16) + "}", 16);
        byte[] bytes = Files.readAllBytes(file);
        java.nio.ByteBuffer.wrap(bytes)
                .order(java.nio.ByteOrder.LITTLE_ENDIAN)
                .putDouble(bytes.length - 16, 1.1)
                .putDouble(bytes.length - 8, -0.3);
        Files.write(file, bytes);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(c.info("a")).isEqualTo(TensorInfo.of("a", DType.F32, 2));
            assertThat(r.tensor("a").bytes().toArray(ValueLayout.JAVA_FLOAT))
                    .containsExactly(1.1f, -0.3f);
            assertThat(c.remarks()).singleElement().asString().contains("'a' is F64");
            assertThat(c.derived(c.config(), new LinkedHashMap<>(), (_, _, _) -> null).remarks())
                    .isEqualTo(c.remarks());
        }
    }

    private void quantization(String config) throws IOException {
        write("config.json", "{\"model_type\":\"llama\",\"quantization_config\":" + config + "}");
    }

    @ParameterizedTest
    @ValueSource(strings = {"\"4\"", "4.5", "NaN", "[4]", "true", "1e300"})
    void refusesNumbersOfAQuantizationThatAreNone(String number) throws IOException {
        shard("model.safetensors", "a");
        quantization("{\"quant_method\":\"gptq\",\"bits\":" + number + "}");
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'quantization_config.bits'");
        quantization("{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":" + number + "}");
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'quantization_config.group_size'");
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-5"})
    void refusesGroupsOfNoWeights(String size) throws IOException {
        shard("model.safetensors", "a");
        quantization("{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":" + size + "}");
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'quantization_config.group_size' is " + size);
    }

    @Test
    void matchesTargetsWithinBounds() throws IOException {
        String name = "a".repeat(60) + "!";
        Fixture.raw(
                directory.resolve("model.safetensors"),
                "{%s,%s}"
                        .formatted(
                                entry(name + ".weight_packed", "I32", "[1,1]", 0, 4),
                                entry(name + ".weight_shape", "I64", "[2]", 4, 20)),
                20);
        String group =
                "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"g\":"
                        + "{\"targets\":[\"re:%s\"],\"weights\":{\"num_bits\":4,\"group_size\":32}}}}";
        quantization(group.formatted("(.*)*x\\\\1$"));
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThatThrownBy(() -> r.weight(name))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll("config.json", "target", "takes too long");
        }
        quantization(group.formatted("(".repeat(5000)));
        opening()
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll("config.json", "target");
    }

    @Test
    void refusesABrokenConfig() throws IOException {
        shard("model.safetensors", "a");
        write("config.json", "{\"model_type\": \"llama\", \"model_type\": \"gpt2\"}");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("model_type");
        write("config.json", "{\"a\": " + "[".repeat(50) + "]".repeat(50) + "}");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("depth");
        write("config.json", "");
        opening().isInstanceOf(FormatException.class).hasMessageContaining("config.json");
    }

    @Test
    void namesTheFilesThatTravel() throws IOException {
        shard("model.safetensors", "a");
        String[] travel = {
            "GEMMA_TERMS.html",
            "LICENSE",
            "LICENSE.txt",
            "NOTICE.md",
            "README.md",
            "USE_POLICY.md",
            "added_tokens.json",
            "chat_template.jinja",
            "generation_config.json",
            "merges.txt",
            "preprocessor_config.json",
            "processor_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
            "vocab.json"
        };
        String[] stay = {
            "model.gguf",
            "pytorch_model.bin",
            "modeling_custom.py",
            "tokenizer.py",
            "a.pt",
            "tokenizer.onnx",
            "quantize_config.json",
            "llmc.json",
            "optimizer.pt",
            "model.safetensors.index.json.bak",
            "tokenizer.safetensors"
        };
        for (String name : travel) {
            write(name, "");
        }
        for (String name : stay) {
            write(name, "");
        }
        Files.createDirectory(directory.resolve("tokenizer_files"));
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.sideFiles())
                    .extracting(f -> f.getFileName().toString())
                    .containsExactly(travel);
        }
    }

    @Test
    void readsDenseWeightsAndRefusesOthers() throws IOException {
        Random random = new Random(1);
        try (Arena memory = Arena.ofConfined()) {
            Fixture.model(
                    directory,
                    CONFIG,
                    Map.of(
                            "a.weight", Fixture.bytes(memory, random, DType.BF16, 3, 5),
                            "b.weight", Fixture.bytes(memory, random, DType.F8_E4M3, 3, 5),
                            "c.weight", Fixture.bytes(memory, random, DType.F32, 3),
                            "d.qweight", Fixture.bytes(memory, random, DType.I32, 3, 3)));
            try (Checkpoint c = Checkpoint.open(directory);
                    TensorReader r = c.reader()) {
                Weight.Dense a = (Weight.Dense) r.weight("a");
                assertThat(a.values()).isSameAs(r.tensor("a.weight"));
                assertThatThrownBy(() -> r.weight("b")).hasMessageContaining("F8_E4M3[3, 5]");
                assertThatThrownBy(() -> r.weight("c")).hasMessageContaining("expected a matrix");
                assertThatThrownBy(() -> r.weight("d"))
                        .isInstanceOf(FormatException.class)
                        .hasMessageContaining("quantization_config");
            }
        }
    }
}
