// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.bitsandbytes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.Dequantizer;
import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Small files of every kind: values by the formula, and faults by name.
class BitsAndBytesTest {
    private static final String UP = "model.layers.0.mlp.up_proj";
    private static final String STATE = UP + ".weight.quant_state.bitsandbytes__fp4";
    private static final String NESTED =
            "{\"quant_type\": \"fp4\", \"blocksize\": 8, \"dtype\": \"float16\", \"shape\": [3, 10],"
                    + " \"nested_blocksize\": 3, \"nested_offset\": 0.25}";

    @TempDir Path directory;
    private final Arena memory = Arena.ofShared();
    private final Random random = new Random(3);
    private final Map<String, Tensor> tensors = new TreeMap<>();

    @AfterEach
    void free() {
        memory.close();
    }

    private Tensor floats(int n) {
        Tensor t = Dequantizer.allocate(memory, DType.F32, n);
        for (int i = 0; i < n; i++) {
            Floats.set(t.bytes(), DType.F32, i, random.nextFloat() - 0.5f);
        }
        return t;
    }

    /// A code book of the file's own, blocks that end inside rows, the last one short.
    private void fourBits(String state) {
        tensors.put(UP + ".weight", Fixture.bytes(memory, random, DType.U8, 15, 1));
        tensors.put(UP + ".weight.quant_map", floats(16));
        tensors.put(UP + ".weight.absmax", Fixture.bytes(memory, random, DType.U8, 4));
        tensors.put(UP + ".weight.nested_quant_map", floats(256));
        tensors.put(UP + ".weight.nested_absmax", floats(2));
        byte[] text = state.getBytes(StandardCharsets.UTF_8);
        Tensor json = Dequantizer.allocate(memory, DType.U8, text.length);
        json.bytes().copyFrom(MemorySegment.ofArray(text));
        tensors.put(STATE, json);
    }

    private void eightBits(int format) {
        tensors.put(UP + ".weight", Fixture.bytes(memory, random, DType.I8, 3, 10));
        tensors.put(UP + ".SCB", floats(3));
        Tensor order = Dequantizer.allocate(memory, DType.U8);
        order.bytes().set(ValueLayout.JAVA_BYTE, 0, (byte) format);
        tensors.put(UP + ".weight_format", order);
    }

    private Checkpoint open() throws IOException {
        String config =
                "{\"model_type\": \"llama\", \"quantization_config\":"
                        + " {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}}";
        Fixture.model(directory, config, tensors);
        return Checkpoint.open(directory);
    }

    private float f32(String name, int i) {
        return Floats.get(tensors.get(UP + name).bytes(), DType.F32, i);
    }

    private int u8(String name, int i) {
        return tensors.get(UP + name).bytes().get(ValueLayout.JAVA_BYTE, i) & 0xff;
    }

    @Test
    void fourBitsWithDoubleQuantization() throws IOException {
        fourBits(NESTED);
        try (Checkpoint c = open();
                TensorReader r = c.reader()) {
            assertThat(c.isQuantized()).isTrue();
            assertThat(c.packedLinears()).containsExactly(UP);
            assertThat(c.packedLinear(STATE)).contains(UP);
            assertThat(r.require(UP)).isEqualTo(new Shape(3, 10));
            assertThat(r.valueType(UP)).isEqualTo(DType.F16);
            assertThat(Layouts.parameters(r, c.info(UP + ".weight"))).isEqualTo(30);
            Tensor values = Dequantizer.values(r.weight(UP), DType.F16, memory);
            for (int k = 0; k < 30; k++) {
                int both = u8(".weight", k / 2);
                float book = f32(".weight.quant_map", k % 2 == 0 ? both >> 4 : both & 15);
                float outer = f32(".weight.nested_absmax", k / 8 / 3);
                float inner = f32(".weight.nested_quant_map", u8(".weight.absmax", k / 8));
                float expected = Floats.roundToF16(book * (inner * outer + 0.25f));
                assertThat(Floats.get(values.bytes(), DType.F16, k)).isEqualTo(expected);
            }
        }
    }

    @Test
    void eightBitsByRow() throws IOException {
        eightBits(0);
        try (Checkpoint c = open();
                TensorReader r = c.reader()) {
            Tensor values = Dequantizer.values(r.weight(UP), DType.F32, memory);
            for (int k = 0; k < 30; k++) {
                float expected = (byte) u8(".weight", k) * f32(".SCB", k / 10) * (1f / 127);
                assertThat(Floats.get(values.bytes(), DType.F32, k)).isEqualTo(expected);
            }
        }
    }

    private void refused(String... words) throws IOException {
        try (Checkpoint c = open();
                TensorReader r = c.reader()) {
            assertThatThrownBy(() -> r.require(UP))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(words);
        }
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '`',
            value = {
                "\"float16\", \"float8\", dtype",
                "\"float16\", 16, dtype",
                "[3@ 10], [3], shape",
                "[3@ 10], [3@ 5], shape",
                "[3@ 10], [4@ 10], weight",
                "\"blocksize\": 8, \"blocksize\": 0, blocksize",
                "\"blocksize\": 8, \"blocksize\": 4, absmax",
                "8@ \"dtype\": \"float16\"@ \"shape\": [3@ 10], 1@ \"dtype\": \"float16\"@ \"shape\": [65536@ 65536], 2^31 blocks",
                "\"nested_offset\": 0.25, \"nested_offset\": \"0\", nested_offset",
                "\"nested_blocksize\": 3, \"nested_blocksize\": 1, nested_absmax",
                "0.25}, 0.25, no JSON",
            })
    void faultsOfTheStateAreNamed(String from, String to, String word) throws IOException {
        fourBits(NESTED.replace(from.replace('@', ','), to.replace('@', ',')));
        refused(word);
    }

    @Test
    void otherOrdersOfRowsAreRefused() throws IOException {
        eightBits(2);
        refused("weight_format");
    }

    @Test
    void numbersThatAreNoneAreRefused() throws IOException {
        fourBits(NESTED);
        Floats.set(tensors.get(UP + ".weight.quant_map").bytes(), DType.F32, 3, Float.NaN);
        refused("quant_map", "NaN");
    }

    @Test
    void itIsNoLayoutToWrite() {
        assertThatThrownBy(() -> Layouts.named("bitsandbytes"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("unknown layout");
    }
}
