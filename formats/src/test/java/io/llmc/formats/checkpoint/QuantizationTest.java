// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.Json;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What a quantization config says has the type that its key has, or is refused by that key.
class QuantizationTest {
    private static final String GPTQ =
            """
            {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "desc_act": false,
             "checkpoint_format": "gptq", "format": "gptq", "pack_dtype": "int32"}\
            """;
    private static final String COMPRESSED =
            """
            {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
             "version": "0.12.2", "sparsity_config": {}, "transform_config": {},
             "config_groups": {"g": {"targets": ["Linear"], "format": "pack-quantized", "weights":
               {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128,
                "symmetric": true, "actorder": null}}}}\
            """;

    @TempDir Path directory;

    /// @param pointer of a key, as in `config_groups/g/targets`
    private static ObjectNode changed(String config, String pointer, String value)
            throws IOException {
        ObjectNode root = object(config);
        int slash = pointer.lastIndexOf('/');
        ObjectNode parent =
                slash < 0 ? root : (ObjectNode) root.at("/" + pointer.substring(0, slash));
        parent.set(pointer.substring(slash + 1), object("{\"v\": " + value + "}").get("v"));
        return root;
    }

    private static ObjectNode object(String json) throws IOException {
        return (ObjectNode) new com.fasterxml.jackson.databind.ObjectMapper().readTree(json);
    }

    private void open(String file, ObjectNode json) throws IOException {
        Fixture.raw(
                directory.resolve("model.safetensors"),
                "{" + Fixture.entry("a.qweight", "U8", "[1]", 0, 1) + "}",
                1);
        if (!file.equals("config.json")) {
            Json.write(directory.resolve("config.json"), object(Fixture.CONFIG));
        }
        Json.write(directory.resolve(file), json);
        Checkpoint.open(directory).close();
    }

    private void openConfig(ObjectNode quantization) throws IOException {
        ObjectNode config = object(Fixture.CONFIG);
        config.set("quantization_config", quantization);
        open("config.json", config);
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '`',
            value = {
                "quant_method, 5",
                "quant_method, []",
                "bits, \"4\"",
                "bits, 4.5",
                "bits, -4",
                "bits, 0",
                "bits, null",
                "group_size, \"128\"",
                "group_size, 0",
                "group_size, -2",
                "group_size, true",
                "sym, \"true\"",
                "sym, 1",
                "sym, []",
                "desc_act, \"no\"",
                "desc_act, 0",
                "checkpoint_format, 2",
                "checkpoint_format, {}",
                "pack_dtype, 32",
                "is_marlin_format, \"no\"",
                "dynamic, []"
            })
    void keysOfGptqHaveTheirTypes(String key, String value) throws IOException {
        ObjectNode config = changed(GPTQ, key, value);
        assertThatThrownBy(() -> openConfig(config))
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll("config.json", "'quantization_config." + key + "'");
        if (!key.equals("quant_method")) {
            assertThatThrownBy(() -> open(Quantization.FILE, config))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(Quantization.FILE, "'" + key + "'");
        }
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '`',
            value = {
                "quant_method| {}",
                "format| 4",
                "ignore| 4",
                "ignore| [\"a\", 4]",
                "version| 12",
                "sparsity_config| []",
                "sparsity_config/format| true",
                "transform_config| \"none\"",
                "transform_config/config_groups| []",
                "config_groups| [\"Linear\"]",
                "config_groups| \"W4A16\"",
                "config_groups/g| [\"Linear\"]",
                "config_groups/g/format| []",
                "config_groups/g/targets| {\"Linear\": 1}",
                "config_groups/g/targets| [4]",
                "config_groups/g/weights| \"int4\"",
                "config_groups/g/weights| []",
                "config_groups/g/weights/num_bits| \"4\"",
                "config_groups/g/weights/num_bits| null",
                "config_groups/g/weights/type| 4",
                "config_groups/g/weights/type| \"integer\"",
                "config_groups/g/weights/strategy| true",
                "config_groups/g/weights/strategy| \"groups\"",
                "config_groups/g/weights/group_size| \"128\"",
                "config_groups/g/weights/group_size| 0",
                "config_groups/g/weights/group_size| null",
                "config_groups/g/weights/symmetric| \"yes\"",
                "config_groups/g/weights/symmetric| 0",
                "config_groups/g/weights/actorder| 1",
                "config_groups/g/weights/actorder| \"sorted\""
            },
            delimiter = '|')
    void keysOfCompressedTensorsHaveTheirTypes(String pointer, String value) throws IOException {
        ObjectNode config = changed(COMPRESSED, pointer, value);
        assertThatThrownBy(() -> openConfig(config))
                .isInstanceOf(FormatException.class)
                .hasMessageContainingAll(
                        "config.json", "'quantization_config." + pointer.replace('/', '.') + "'");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "actorder| true",
                "actorder| \"GROUP\"",
                "strategy| \"Group\"",
                "strategy| null",
                "type| \"INT\"",
                "symmetric| null"
            })
    void readsWhatTheLibraryReads(String line) throws IOException {
        int bar = line.indexOf('|');
        openConfig(
                changed(
                        COMPRESSED,
                        "config_groups/g/weights/" + line.substring(0, bar),
                        line.substring(bar + 1)));
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.isReadable()).isTrue();
            assertThat(c.quantization()).isPresent();
        }
    }
}
