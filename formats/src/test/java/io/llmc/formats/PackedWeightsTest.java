// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Random;
import java.util.SequencedMap;
import java.util.function.Consumer;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Packed weights that make no sense are refused by name, by a look at what is small of them and
/// when they are decoded.
class PackedWeightsTest {
    private static final String LINEAR = "model.layers.0.mlp.up_proj";
    private static final int OUT = 32;
    private static final int IN = 64;
    private static final int GROUP = 16;

    @TempDir Path directory;

    private static String config(String layout) {
        String own =
                layout.startsWith("gptq")
                        ? "\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":16,\"sym\":false,\"checkpoint_format\":\"%s\""
                                .formatted(layout)
                        : "\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"g\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,\"group_size\":16,\"symmetric\":false}}}";
        return "{\"model_type\":\"llama\",\"quantization_config\":{" + own + "}}";
    }

    private void write(String layout, Consumer<SequencedMap<String, Tensor>> change)
            throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, GROUP, false);
        try (Arena memory = Arena.ofConfined()) {
            var weight = Fixture.weight(memory, new Random(1), spec, OUT, IN, DType.F16, true, 1);
            SequencedMap<String, Tensor> tensors =
                    Layouts.named(layout).encode(LINEAR, weight, memory);
            change.accept(tensors);
            Path model = Files.createDirectories(directory.resolve(layout));
            Fixture.model(model, config(layout), tensors);
        }
    }

    private AbstractThrowableAssert<?, ?> refused(String layout, String tensor) {
        try (Checkpoint c = Checkpoint.open(directory.resolve(layout));
                TensorReader r = c.reader()) {
            assertThatThrownBy(() -> r.weight(LINEAR))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining(LINEAR + "." + tensor);
            return assertThatThrownBy(() -> r.require(LINEAR))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining(LINEAR + "." + tensor);
        }
    }

    private static void set(Map<String, Tensor> tensors, String tensor, int at, float value) {
        Tensor t = tensors.get(LINEAR + "." + tensor);
        Floats.set(t.bytes(), t.dtype(), at, value);
    }

    @ParameterizedTest
    @ValueSource(strings = {"gptq", "gptq_v2", "compressed-tensors"})
    void whatIsGoodIsOnlyLookedAt(String layout) throws IOException {
        write(layout, _ -> {});
        try (Checkpoint c = Checkpoint.open(directory.resolve(layout));
                TensorReader r = c.reader()) {
            assertThat(r.require(LINEAR)).isEqualTo(new Shape(OUT, IN));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "gptq, scales, NaN",
        "gptq, scales, Infinity",
        "gptq_v2, scales, -Infinity",
        "compressed-tensors, weight_scale, NaN",
        "compressed-tensors, weight_scale, Infinity"
    })
    void scalesAreNumbers(String layout, String tensor, float value) throws IOException {
        write(layout, t -> set(t, tensor, 70, value));
        refused(layout, tensor).hasMessageContainingAll("element 70", Float.toString(value));
    }

    @ParameterizedTest
    @CsvSource({"gptq, scales", "compressed-tensors, weight_scale"})
    void aScaleOfZeroLosesValues(String layout, String tensor) throws IOException {
        // Output 5, group 2, of [groups, out] and of [out, groups].
        int at = layout.equals("gptq") ? 2 * OUT + 5 : 5 * IN / GROUP + 2;
        write(layout, t -> set(t, tensor, at, 0));
        refused(layout, tensor).hasMessageContaining("0 for output 5, group 2");
    }

    @ParameterizedTest
    @CsvSource({"gptq, scales, qweight", "compressed-tensors, weight_scale, weight_packed"})
    void aGroupOfNothingMayHaveAScaleOfZero(String layout, String scales, String codes)
            throws IOException {
        write(
                layout,
                t -> {
                    t.get(LINEAR + "." + codes).bytes().fill((byte) 0x88);
                    t.get(LINEAR + "." + scales).bytes().fill((byte) 0);
                });
        try (Checkpoint c = Checkpoint.open(directory.resolve(layout));
                TensorReader r = c.reader()) {
            assertThat(r.require(LINEAR)).isEqualTo(new Shape(OUT, IN));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "gptq, g_idx, 4",
        "gptq, g_idx, -1",
        "gptq, g_idx, 2147483647",
        "gptq_v2, g_idx, -2147483648",
        "compressed-tensors, weight_g_idx, 4",
        "compressed-tensors, weight_g_idx, -3"
    })
    void inputsAreInGroupsThatThereAre(String layout, String tensor, int group) throws IOException {
        write(
                layout,
                t ->
                        t.get(LINEAR + "." + tensor)
                                .bytes()
                                .setAtIndex(ValueLayout.JAVA_INT_UNALIGNED, 9, group));
        refused(layout, tensor).hasMessageContaining("input 9 into group " + group + " of 4");
    }

    @ParameterizedTest
    @CsvSource({
        "gptq, qweight, 16",
        "gptq, qweight, 4",
        "gptq, scales, 1",
        "gptq, scales, 3",
        "gptq, qzeros, 3",
        "compressed-tensors, weight_packed, 31",
        "compressed-tensors, weight_scale, 31",
        "compressed-tensors, weight_zero_point, 3"
    })
    void shapesAreThoseOfTheConfig(String layout, String tensor, int rows) throws IOException {
        write(
                layout,
                t -> {
                    Tensor old = t.get(LINEAR + "." + tensor);
                    Tensor other =
                            Tensor.of(
                                    Arena.ofAuto()
                                            .allocate(rows * old.cols() * 4, 8)
                                            .asSlice(0, rows * old.cols() * old.dtype().bytes()),
                                    old.dtype(),
                                    rows,
                                    old.cols());
                    t.put(LINEAR + "." + tensor, other);
                });
        refused(layout, tensor);
    }

    @Test
    void aConfigMayGiveSomeLayersAnotherWidth() throws IOException {
        write("gptq_v2", _ -> {});
        Path config = directory.resolve("gptq_v2/config.json");
        String eight = Files.readString(config).replace("\"bits\":4", "\"bits\":8");
        Files.writeString(config, eight);
        refused("gptq_v2", "qweight").hasMessageContaining("8 bits for each of 64 inputs");
        Files.writeString(
                config, eight.replace("\"bits\":8", "\"bits\":8,\"dynamic\":{\"-:x\":{}}"));
        refused("gptq_v2", "qweight");
        Files.writeString(
                config,
                eight.replace("\"bits\":8", "\"bits\":8,\"dynamic\":{\"+:up\":{\"bits\":4}}"));
        try (Checkpoint c = Checkpoint.open(directory.resolve("gptq_v2"));
                TensorReader r = c.reader()) {
            assertThat(r.require(LINEAR)).isEqualTo(new Shape(OUT, IN));
        }
    }

    @Test
    void zeroPointsAreCodes() throws IOException {
        write(
                "compressed-tensors",
                t -> {
                    Tensor zeros = Dequantizer.allocate(Arena.ofAuto(), DType.I8, OUT, IN / GROUP);
                    zeros.bytes().set(ValueLayout.JAVA_BYTE, 3, (byte) 8);
                    t.put(LINEAR + ".weight_zero_point", zeros);
                });
        refused("compressed-tensors", "weight_zero_point")
                .hasMessageContaining("is 8 at element 3, expected -8 to 7");
    }
}
