// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SequencedMap;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Every format with random codes: what is written is read, and what makes no sense is refused.
class CompressedTensorsTest {
    private static final String LINEAR = Packed.LINEAR;

    private final Arena memory = Arena.ofConfined();
    @TempDir Path directory;

    @AfterEach
    void close() {
        memory.close();
    }

    static List<Scheme> schemes() {
        return Packed.schemes();
    }

    private Packed random(Scheme scheme) {
        // Blocks at the lower edge are partial, and rows of 3 or 5 bits end inside a word.
        return Packed.random(memory, new Random(5), scheme, 6, 96);
    }

    @ParameterizedTest
    @MethodSource("schemes")
    void whatIsWrittenIsRead(Scheme scheme) throws IOException {
        Packed packed = random(scheme);
        SequencedMap<String, Tensor> tensors = packed.tensors(memory);
        LayerPlan plan =
                new LayerPlan(
                        LINEAR,
                        6,
                        96,
                        scheme,
                        new GridSpec<>((Encoding.Grid<?>) scheme.weights(), DType.BF16, 0),
                        false);
        assertThat(
                        tensors.entrySet().stream()
                                .map(e ->
                                        new TensorInfo(
                                                e.getKey(),
                                                e.getValue().dtype(),
                                                e.getValue().shape())))
                .containsExactlyElementsOf(Layouts.named("compressed-tensors").plan(plan));
        try (Checkpoint c = Checkpoint.open(packed.save(directory, tensors));
                TensorReader r = c.reader()) {
            assertThat(c.scheme(LINEAR)).contains(scheme);
            assertThat(c.scheme("lm_head")).isEmpty();
            assertThat(c.kvCache()).contains(new CacheScheme(Codes.Floats.E4M3, true));
            assertThat(r.require(LINEAR).dims()).containsExactly(6, 96);
            Weight read = r.weight(LINEAR);
            assertThat(read.encoding()).isEqualTo(packed.weight().encoding());
            assertThat(r.valueType(LINEAR)).isEqualTo(read.valueType());
            assertSame(read.tensors().toList(), packed.weight().tensors().toList());
            var rounding = r.rounding(LINEAR);
            assertThat(rounding.isPresent()).isEqualTo(packed.rounding() != null);
            rounding.ifPresent(
                    i -> assertSame(i.tensors().toList(), packed.rounding().tensors().toList()));
            long parameters =
                    c.names().stream().mapToLong(n -> Layouts.parameters(r, c.info(n))).sum();
            assertThat(parameters).isEqualTo(6 * 96);
        }
    }

    private static void assertSame(List<Tensor> actual, List<Tensor> expected) {
        assertThat(actual).hasSameSizeAs(expected);
        for (int i = 0; i < actual.size(); i++) {
            assertThat(actual.get(i).like(expected.get(i))).isTrue();
            assertThat(actual.get(i).bytes().mismatch(expected.get(i).bytes())).isEqualTo(-1);
        }
    }

    private void refuses(Packed packed, Map<String, Tensor> tensors, String... words)
            throws IOException {
        packed.save(directory, tensors);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThatThrownBy(
                            () -> {
                                r.weight(LINEAR);
                                r.rounding(LINEAR);
                            })
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(words)
                    .hasMessageNotContaining("\n");
            assertThatThrownBy(() -> r.require(LINEAR)).isInstanceOf(FormatException.class);
        }
    }

    private Map<String, Tensor> changed(Packed packed, String suffix, Consumer<Tensor> change) {
        Map<String, Tensor> tensors = new LinkedHashMap<>(packed.tensors(memory));
        Tensor before = tensors.get(LINEAR + suffix);
        Tensor after = Dequantizer.allocate(memory, before.dtype(), before.shape().dims());
        after.bytes().copyFrom(before.bytes());
        change.accept(after);
        tensors.put(LINEAR + suffix, after);
        return tensors;
    }

    private static Consumer<Tensor> set(float value) {
        return t -> Floats.set(t.bytes(), t.dtype(), t.shape().size() - 1, value);
    }

    private static Consumer<Tensor> setByte(int value) {
        return t -> t.bytes().set(ValueLayout.JAVA_BYTE, t.byteSize() - 1, (byte) value);
    }

    @ParameterizedTest
    @CsvSource({"NaN", "Infinity", "-Infinity"})
    void scalesAreNumbers(float value) throws IOException {
        for (Scheme scheme : schemes()) {
            Packed packed = random(scheme);
            boolean plain = packed.tensors(memory).get(LINEAR + ".weight_scale").dtype().isFloat();
            if (plain) {
                refuses(
                        packed,
                        changed(packed, ".weight_scale", set(value)),
                        "weight_scale",
                        "expected a number");
            }
        }
    }

    @Test
    void scalesOfSmallFloatsAreNotNegative() throws IOException {
        Packed rows = random(Scheme.of(new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW)));
        refuses(rows, changed(rows, ".weight_scale", set(-1)), "weight_scale", "at least 0");
        refuses(rows, changed(rows, ".weight_scale", set(0)), "values are lost");
        for (Scheme scheme : schemes()) {
            Packed packed = random(scheme);
            DType type = packed.tensors(memory).get(LINEAR + ".weight_scale").dtype();
            if (type == DType.F8_E4M3) {
                refuses(packed, changed(packed, ".weight_scale", setByte(0x7f)), "is NaN");
                refuses(packed, changed(packed, ".weight_scale", setByte(0x81)), "at least 0");
                refuses(packed, changed(packed, ".weight_scale", setByte(0)), "values are lost");
            } else if (type == DType.U8) {
                refuses(packed, changed(packed, ".weight_scale", setByte(255)), "is NaN");
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"NaN", "Infinity", "0", "-1"})
    void singleNumbersAreAboveZero(float value) throws IOException {
        for (Scheme scheme : schemes()) {
            Packed packed = random(scheme);
            for (String suffix :
                    List.of(".weight_global_scale", ".input_scale", ".input_global_scale")) {
                if (packed.tensors(memory).containsKey(LINEAR + suffix)) {
                    refuses(
                            packed,
                            changed(packed, suffix, set(value)),
                            suffix,
                            "expected a number above 0");
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("schemes")
    void everyTensorIsThereInItsSize(Scheme scheme) throws IOException {
        Packed packed = random(scheme);
        Tiles tiles = ((Encoding.Grid<?>) scheme.weights()).tiles();
        for (String name : packed.tensors(memory).keySet()) {
            Map<String, Tensor> tensors = new HashMap<>(packed.tensors(memory));
            Tensor own = tensors.get(name);
            long[] dims = own.shape().dims();
            dims[0] += 3;
            tensors.put(name, Dequantizer.allocate(memory, own.dtype(), dims));
            // One scale is enough for any rows.
            if (!name.endsWith(".weight") || !tiles.equals(Tiles.TENSOR)) {
                refuses(packed, tensors, LINEAR);
            }
            tensors.remove(name);
            // Symmetric integers have no zero points, and a model without codes is no packed one.
            if (!name.endsWith("_zero_point") || name.contains("input")) {
                refuses(packed, tensors, LINEAR);
            }
        }
    }

    @Test
    void codesOfABytesLengthFitTheirBits() throws IOException {
        Packed packed = random(schemes().get(7));
        Map<String, Tensor> tensors = changed(packed, ".weight", setByte(8));
        packed.save(directory, tensors);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThatThrownBy(() -> r.weight(LINEAR))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining("is 8 at [5, 95], expected -8 to 7 for 4 bits");
        }
        refuses(
                packed,
                changed(packed, ".weight_zero_point", setByte(-9)),
                "is -9 at element 35, expected -8 to 7 for 4 bits");
    }

    // ------------------------------------------------------------------ without zeros

    private Path sparse(Tensor values, int[] mask, long out, long in) throws IOException {
        Tensor bits = Dequantizer.allocate(memory, DType.U8, out, mask.length / out);
        for (int i = 0; i < mask.length; i++) {
            bits.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) mask[i]);
        }
        Tensor shape = Dequantizer.allocate(memory, DType.I64, 2, 1);
        shape.bytes().setAtIndex(BitStream.LONG, 0, out);
        shape.bytes().setAtIndex(BitStream.LONG, 1, in);
        return Fixture.model(
                directory,
                """
                {"model_type": "llama", "quantization_config": {"quant_method": "compressed-tensors",
                 "sparsity_config": {"format": "sparse-bitmask"}}}\
                """,
                Map.of(
                        LINEAR + ".compressed", values,
                        LINEAR + ".bitmask", bits,
                        LINEAR + ".shape", shape));
    }

    private Tensor counted(int values) {
        Tensor t = Dequantizer.allocate(memory, DType.F32, values);
        for (int i = 0; i < values; i++) {
            Floats.set(t.bytes(), DType.F32, i, i + 1);
        }
        return t;
    }

    @Test
    void zerosAreWhereTheMaskHasNone() throws IOException {
        sparse(counted(5), new int[] {0b1000_0001, 0b10, 0, 0b101}, 2, 11);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(
                            ((Weight.Dense) r.weight(LINEAR))
                                    .values()
                                    .bytes()
                                    .toArray(ValueLayout.JAVA_FLOAT))
                    .containsExactly(
                            1, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 5);
            assertThat(c.packedLinears()).containsExactly(LINEAR);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "4, 11, 5 bits set",
        "6, 11, 5 bits set",
        "5, 17, does not fit",
        "5, -1, does not fit",
        "5, 9223372036854775807, does not fit"
    })
    void masksFitTheirValues(int values, long in, String words) throws IOException {
        sparse(counted(values), new int[] {0b1000_0001, 0b10, 0, 0b101}, 2, in);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThatThrownBy(() -> r.weight(LINEAR))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining(words);
        }
    }
}
