// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.Json;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.Solver;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What a layout encodes, it decodes to the same codes, scales, zero points and values.
class LayoutsTest {
    private static final String LINEAR = "model.layers.0.mlp.up_proj";

    @TempDir Path directory;
    private final Arena memory = Arena.ofShared();

    @AfterEach
    void free() {
        memory.close();
    }

    record Case(
            String layout,
            Encoding.Grid<Codes.Ints> spec,
            int out,
            int in,
            DType scales,
            boolean groupIndex,
            int minZero) {}

    static Stream<Case> cases() {
        Stream.Builder<Case> cases = Stream.builder();
        for (int bits : List.of(2, 3, 4, 8)) {
            for (boolean symmetric : List.of(true, false)) {
                for (int group : List.of(16, 24, Tiles.ALL)) {
                    Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, group, symmetric);
                    boolean index = group > 0 && symmetric;
                    // No multiple of 32, not even of the group: 45 = 16 + 16 + 13.
                    cases.add(new Case("compressed-tensors", spec, 7, 45, DType.BF16, index, 0));
                    cases.add(new Case("compressed-tensors", spec, 33, 101, DType.F32, false, 0));
                    cases.add(new Case("compressed-tensors", spec, 1, 1, DType.F16, false, 0));
                    cases.add(new Case("gptq", spec, 32, 96, DType.F16, index, 1));
                    cases.add(new Case("gptq", spec, 96, 32, DType.BF16, false, 1));
                    cases.add(new Case("gptq_v2", spec, 64, 160, DType.F16, index, 0));
                }
            }
        }
        for (int bits = 2; bits <= 8; bits++) {
            boolean index = bits == 5;
            Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, 24, index);
            cases.add(new Case("gptq_p", spec, 32, 96, DType.F16, index, 0));
        }
        for (boolean symmetric : List.of(true, false)) {
            Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 20, symmetric);
            // Inputs that end inside a word of codes; more words beside each other than one line.
            cases.add(new Case("awq", spec, 8, 60, DType.F16, false, 0));
            cases.add(new Case("awq", spec, 136, 40, DType.F16, false, 0));
            spec = Encoding.ints(4, Tiles.ALL, symmetric);
            cases.add(new Case("awq", spec, 24, 13, DType.F16, false, 0));
        }
        return cases.build();
    }

    private Weight.Grouped weight(Case c) {
        Random random = new Random(c.hashCode());
        return Fixture.weight(
                memory, random, c.spec, c.out, c.in, c.scales, c.groupIndex, c.minZero);
    }

    private static QuantPlan summary(
            Encoding.Grid<Codes.Ints> spec, boolean groupIndex, String... ignored) {
        Solver.Order order = groupIndex ? Solver.Order.ACTIVATIONS : Solver.Order.STORED;
        return Fixture.plan(
                spec, new Solver("gptq", 0.01, order, groupIndex, true), LINEAR, ignored);
    }

    private Path save(WeightLayout layout, QuantPlan summary, Map<String, Tensor> tensors)
            throws IOException {
        ObjectNode config = Json.object().put("model_type", "llama");
        layout.quantizationConfig(summary, "9")
                .ifPresent(q -> config.set("quantization_config", q));
        return Fixture.model(directory, config.toString(), tensors);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void whatIsEncodedDecodesToTheSame(Case c) throws IOException {
        Weight.Grouped w = weight(c);
        WeightLayout layout = Layouts.named(c.layout);
        SequencedMap<String, Tensor> tensors = layout.encode(LINEAR, w, memory);
        assertThat(
                        tensors.entrySet().stream()
                                .map(e ->
                                        new TensorInfo(
                                                e.getKey(),
                                                e.getValue().dtype(),
                                                e.getValue().shape())))
                .containsExactlyElementsOf(
                        layout.plan(
                                LayerPlan.of(
                                                LINEAR,
                                                c.out,
                                                c.in,
                                                new GridSpec<>(c.spec, c.scales, 0))
                                        .withGroupIndex(c.groupIndex)));
        save(layout, summary(c.spec, c.groupIndex, "lm_head"), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            Weight.Grouped read = (Weight.Grouped) r.weight(LINEAR);
            assertThat(read.grid()).isEqualTo(w.grid());
            assertThat(read.inFeatures()).isEqualTo(w.inFeatures());
            assertSame(read.codes(), w.codes());
            assertSame(read.scales(), w.scales());
            assertSame(read.zeros(), w.zeros());
            if (w.groupIndex() == null) {
                assertThat(read.groupIndex()).isNull();
            } else {
                assertSame(read.groupIndex(), w.groupIndex());
            }
            assertValues(Dequantizer.values(read, DType.F32, memory), w);
        }
    }

    private static void assertSame(Tensor actual, Tensor expected) {
        assertThat(actual.like(expected)).as("%s is %s", actual, expected).isTrue();
        assertThat(actual.bytes().mismatch(expected.bytes())).isEqualTo(-1);
    }

    /// The formula, element by element.
    private static void assertValues(Tensor values, Weight.Grouped w) {
        DType d = w.scales().dtype();
        long groups = w.scales().cols();
        for (long o = 0; o < w.outFeatures(); o++) {
            for (long i = 0; i < w.inFeatures(); i++) {
                long g =
                        w.groupIndex() == null
                                ? i / w.grid().tiles().width(w.inFeatures())
                                : w.groupIndex().bytes().getAtIndex(BitStream.WORD, i);
                int bits = w.grid().codes().bits();
                int code = BitStream.get(w.codes().bytes(), o * w.codes().cols(), 1, i, bits);
                int zero = w.zeros().bytes().get(ValueLayout.JAVA_BYTE, o * groups + g) & 0xff;
                float scale = Floats.get(w.scales().bytes(), d, o * groups + g);
                float expected = Floats.round(Floats.round(code - zero, d) * scale, d);
                assertThat(Floats.get(values.bytes(), DType.F32, o * w.inFeatures() + i))
                        .isEqualTo(expected);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"F32", "F16", "BF16"})
    void denseHoldsTheRoundedValues(DType dtype) throws IOException {
        Case c = new Case("dense", Encoding.ints(4, 16, false), 5, 40, DType.F32, false, 0);
        Weight.Grouped w = weight(c);
        WeightLayout layout = Layouts.named("dense");
        var tensors = layout.encode(LINEAR, w, dtype, memory);
        assertThat(layout.plan(LayerPlan.of(LINEAR, 5, 40, new GridSpec<>(c.spec, dtype, 0))))
                .containsExactly(TensorInfo.of(LINEAR + ".weight", dtype, 5, 40));
        save(layout, summary(c.spec, false), tensors);
        Tensor exact = Dequantizer.values(w, DType.F32, memory);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            Tensor read = ((Weight.Dense) r.weight(LINEAR)).values();
            assertThat(read.dtype()).isEqualTo(dtype);
            for (long i = 0; i < 200; i++) {
                float value = Floats.get(exact.bytes(), DType.F32, i);
                assertThat(Floats.get(read.bytes(), dtype, i))
                        .isEqualTo(Floats.round(value, dtype));
            }
        }
        Weight dense = new Weight.Dense(exact);
        assertThat(layout.encode(LINEAR, dense, memory).get(LINEAR + ".weight")).isSameAs(exact);
    }

    @Test
    void scalesAreRoundedToThePlannedType() {
        Case c = new Case("gptq", Encoding.ints(4, 16, true), 32, 32, DType.F32, false, 1);
        Weight.Grouped w = weight(c);
        Tensor scales =
                Layouts.named("gptq").encode(LINEAR, w, DType.F16, memory).get(LINEAR + ".scales");
        assertThat(scales.dtype()).isEqualTo(DType.F16);
        for (long o = 0; o < 32; o++) {
            for (long g = 0; g < 2; g++) {
                float scale = Floats.get(w.scales().bytes(), DType.F32, o * 2 + g);
                assertThat(Floats.get(scales.bytes(), DType.F16, g * 32 + o))
                        .isEqualTo(Floats.roundToF16(scale));
            }
        }
    }

    /// The worked example of the format's description: a zero point of 8 is stored as 7, or as 8.
    @Test
    void gptqStoresZeroPointsLessOneInItsFirstVersion() {
        Case c = new Case("gptq", Encoding.ints(4, 32, true), 8, 32, DType.F16, false, 1);
        Weight.Grouped w = weight(c);
        assertThat(zeros("gptq", w)).containsOnly(0x77777777);
        assertThat(zeros("gptq_v2", w)).containsOnly(0x88888888);
    }

    private int[] zeros(String layout, Weight.Grouped w) {
        return Layouts.named(layout)
                .encode(LINEAR, w, memory)
                .get(LINEAR + ".qzeros")
                .bytes()
                .toArray(ValueLayout.JAVA_INT);
    }

    @Test
    void firstVersionOfGptqRefusesAZeroPointOfZero() {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 32, false);
        Case c = new Case("gptq", spec, 8, 32, DType.F16, false, 1);
        Weight.Grouped w = weight(c);
        w.zeros().bytes().set(ValueLayout.JAVA_BYTE, 3, (byte) 0);
        assertThatThrownBy(() -> Layouts.named("gptq").encode(LINEAR, w, memory))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("zero point of 0");
        assertThat(zeros("gptq_v2", w)[0] >>> 12 & 15).isZero();
        assertThat(minZero("gptq", spec)).isEqualTo(1);
        assertThat(minZero("gptq", Encoding.ints(4, 32, true))).isZero();
        assertThat(minZero("gptq_v2", spec)).isZero();
        assertThat(minZero("compressed-tensors", spec)).isZero();
    }

    private static int minZero(String layout, Encoding.Grid<Codes.Ints> grid) {
        return Layouts.named(layout).grid(grid, DType.F16).minZero();
    }

    /// GPTQModel subtracts from the whole word, so a zero point of 0 borrows from its neighbour.
    @ParameterizedTest
    @ValueSource(ints = {2, 4, 8})
    void borrowedZeroPointsAreReadAsTheirWriterMeantThem(int bits) throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, 32, false);
        Weight.Grouped w = weight(new Case("gptq", spec, 32, 32, DType.F16, false, 0));
        w.zeros().bytes().set(ValueLayout.JAVA_BYTE, 1, (byte) 0);
        var tensors = Layouts.named("gptq_v2").encode(LINEAR, w, memory);
        Tensor words = tensors.get(LINEAR + ".qzeros");
        int ones = Map.of(2, 0x55555555, 4, 0x11111111, 8, 0x01010101).get(bits);
        for (long i = 0; i < words.shape().size(); i++) {
            int word = words.bytes().getAtIndex(ValueLayout.JAVA_INT, i);
            words.bytes().setAtIndex(ValueLayout.JAVA_INT, i, word - ones);
        }
        save(Layouts.named("gptq"), summary(spec, false), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertSame(((Weight.Grouped) r.weight(LINEAR)).zeros(), w.zeros());
        }
    }

    @Test
    void threeBitZeroPointsWrapByThemselves() throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(3, 32, false);
        Weight.Grouped w = weight(new Case("gptq", spec, 32, 32, DType.F16, false, 0));
        w.zeros().bytes().fill((byte) 0);
        var tensors = Layouts.named("gptq_v2").encode(LINEAR, w, memory);
        tensors.get(LINEAR + ".qzeros").bytes().fill((byte) 0xff); // every field 7 = 0 - 1
        save(Layouts.named("gptq"), summary(spec, false), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertSame(((Weight.Grouped) r.weight(LINEAR)).zeros(), w.zeros());
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 8})
    void gptqNeedsWholeWords(int bits) {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, Tiles.ALL, true);
        WeightLayout gptq = Layouts.named("gptq");
        var target = new GridSpec<>(spec, DType.F16, 0);
        int multiple = Map.of(2, 16, 3, 32, 4, 8, 8, 4).get(bits);
        assertThat(gptq.plan(LayerPlan.of(LINEAR, multiple, multiple, target))).hasSize(4);
        for (int[] size : new int[][] {{multiple + 1, multiple}, {multiple, multiple - 1}}) {
            assertThatThrownBy(() -> gptq.plan(LayerPlan.of(LINEAR, size[0], size[1], target)))
                    .isInstanceOf(UserException.class)
                    .hasMessageContainingAll(LINEAR, "multiples of " + multiple);
            Weight.Grouped w =
                    weight(new Case("gptq", spec, size[0], size[1], DType.F16, false, 1));
            assertThatThrownBy(() -> gptq.encode(LINEAR, w, memory))
                    .isInstanceOf(UserException.class);
        }
    }

    @Test
    void packedLayoutsRefuseDenseWeights() {
        Weight dense = new Weight.Dense(Dequantizer.allocate(memory, DType.F32, 32, 32));
        for (String name : List.of("gptq", "gptq_v2", "awq", "compressed-tensors")) {
            assertThatThrownBy(() -> Layouts.named(name).encode(LINEAR, dense, memory))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining(LINEAR);
        }
    }

    @Test
    void unknownLayoutsAreAnsweredWithTheKnown() {
        assertThatThrownBy(() -> Layouts.named("exl2"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("'exl2'")
                .extracting(e -> ((UserException) e).hint())
                .isEqualTo("expected one of compressed-tensors, gptq, gptq_v2, gptq_p, awq, dense");
    }

    @Test
    void configsSayWhichLayersAreDense() {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 128, true);
        String gate = "model.layers.0.mlp.gate";
        ObjectNode ct = config("compressed-tensors", summary(spec, true, gate, "lm_head"));
        assertThat(ct.get("ignore")).hasSize(2);
        assertThatThrownBy(() ->
                        Layouts.named("compressed-tensors").check(summary(spec, true, "lm_head")))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("have an index");
        ObjectNode gptq = config("gptq", summary(spec, true, gate, "lm_head"));
        assertThat(gptq.get("dynamic").fieldNames())
                .toIterable()
                .containsExactly("-:^model\\.layers\\.0\\.mlp\\.gate$");
        assertThat(gptq.get("desc_act").asBoolean()).isTrue();
        QuantPlan fixed =
                Fixture.plan(
                        spec,
                        new Solver("gptq", 0.1, Solver.Order.ACTIVATIONS, false, true),
                        LINEAR,
                        "lm_head");
        assertThat(config("gptq", fixed).get("desc_act").asBoolean()).isFalse();
        assertThat(config("gptq", fixed).has("dynamic")).isFalse();
        assertThat(
                        config("compressed-tensors", fixed)
                                .at("/config_groups/group_0/weights/actorder"))
                .hasToString("\"static\"");
        assertThat(Layouts.named("dense").quantizationConfig(fixed, "9")).isEmpty();
    }

    private static ObjectNode config(String layout, QuantPlan summary) {
        return Layouts.named(layout).quantizationConfig(summary, "9").orElseThrow();
    }

    @Test
    void scaleTypesSuitTheReaders() {
        assertThat(scaleType("compressed-tensors")).isEqualTo(DType.BF16);
        assertThat(scaleType("gptq")).isEqualTo(DType.F16);
        assertThat(scaleType("dense")).isEqualTo(DType.F32);
    }

    private static DType scaleType(String layout) {
        return Layouts.named(layout).grid(Encoding.ints(4, 32, true), DType.BF16).scaleType();
    }

    // ------------------------------------------------------------------ hostile tensors

    private void refusesChanged(String layout, String suffix, Tensor instead, String... words)
            throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 16, false);
        Weight.Grouped w = weight(new Case(layout, spec, 32, 64, DType.F16, true, 1));
        SequencedMap<String, Tensor> tensors =
                new LinkedHashMap<>(Layouts.named(layout).encode(LINEAR, w, memory));
        if (instead == null) {
            tensors.remove(LINEAR + suffix);
        } else {
            tensors.put(LINEAR + suffix, instead);
        }
        save(Layouts.named(layout), summary(spec, true), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertThatThrownBy(() -> r.weight(LINEAR))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContainingAll(words);
        }
    }

    private Tensor ints(int value, long... dims) {
        Tensor t = Dequantizer.allocate(memory, DType.I32, dims);
        for (long i = 0; i < t.shape().size(); i++) {
            t.bytes().setAtIndex(ValueLayout.JAVA_INT, i, value);
        }
        return t;
    }

    private Tensor shape(long out, long in) {
        Tensor t = Dequantizer.allocate(memory, DType.I64, 2);
        t.bytes().setAtIndex(ValueLayout.JAVA_LONG, 0, out);
        t.bytes().setAtIndex(ValueLayout.JAVA_LONG, 1, in);
        return t;
    }

    @Test
    void refusesTensorsOfAPackedLayerThatDoNotFit() throws IOException {
        String ct = "compressed-tensors";
        refusesChanged(ct, ".weight_shape", null, "weight_shape");
        refusesChanged(ct, ".weight_shape", shape(31, 64), "[31, 64]");
        refusesChanged(ct, ".weight_shape", shape(32, Long.MAX_VALUE), "does not hold");
        refusesChanged(ct, ".weight_shape", shape(32, -64), "does not hold");
        refusesChanged(ct, ".weight_shape", shape(32, 65), "expected");
        refusesChanged(ct, ".weight_shape", ints(1, 2), "I64[2]");
        refusesChanged(ct, ".weight_packed", ints(0, 32), "does not hold");
        refusesChanged(ct, ".weight_packed", ints(0, 32, 7), "I32[32, 8]");
        refusesChanged(ct, ".weight_scale", null, "weight_scale");
        refusesChanged(ct, ".weight_scale", ints(0, 32, 4), "F32[32, 4]");
        refusesChanged(ct, ".weight_zero_point", ints(0, 32, 4), "I32[4, 4]");
        refusesChanged(ct, ".weight_g_idx", ints(4, 64), "input 0 into group 4 of 4");
        refusesChanged(ct, ".weight_g_idx", ints(-2, 64), "group -2");
        refusesChanged(ct, ".weight_g_idx", ints(0, 63), "I32[64]");
        refusesChanged("gptq", ".qweight", ints(0, 7, 32), "does not hold 4 bits");
        refusesChanged("gptq", ".qweight", ints(0, 8), "expected a matrix");
        refusesChanged("gptq", ".qzeros", ints(0, 4, 3), "I32[4, 4]");
        refusesChanged("gptq", ".qzeros", null, "qzeros");
        refusesChanged("gptq", ".scales", ints(0, 4, 32), "F16[4, 32]");
        refusesChanged("gptq", ".scales", ints(0, 5, 32), "5 groups for 64 inputs");
        refusesChanged("gptq", ".g_idx", ints(9, 64), "group 9 of 4");
        refusesChanged("gptq", ".g_idx", ints(-1, 8, 8), "I32[64]");
    }

    @Test
    void aGroupIndexIsWrongWhereOnlySomeEntriesAreUnset() {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 2, true);
        Tensor index = ints(-1, 4);
        assertThat(Groups.index(directory, "i", index, spec)).as("not recorded").isNull();
        index.bytes().setAtIndex(ValueLayout.JAVA_INT, 3, 1);
        assertThatThrownBy(() -> Groups.index(directory, "i", index, spec))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("input 0 into group -1 of 2");
    }

    // ------------------------------------------------------------------ older spellings

    @Test
    void readsGptqFilesWithoutAnIndexAndWithAConfigOfTheirOwn() throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(3, 32, true);
        Weight.Grouped w = weight(new Case("gptq", spec, 32, 64, DType.F16, false, 1));
        var tensors = Layouts.named("gptq").encode(LINEAR, w, memory);
        tensors.remove(LINEAR + ".g_idx");
        Fixture.model(directory, Fixture.CONFIG, tensors);
        Files.writeString(
                directory.resolve("quantize_config.json"),
                "{\"bits\": 3, \"group_size\": 32, \"desc_act\": false, \"sym\": true}");
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            Weight.Grouped read = (Weight.Grouped) r.weight(LINEAR);
            assertThat(read.grid()).isEqualTo(spec);
            assertSame(read.codes(), w.codes());
        }
    }

    @Test
    void layersOfOneGptqModelMayDiffer() throws IOException {
        Weight.Grouped four =
                weight(new Case("gptq", Encoding.ints(4, 32, true), 32, 64, DType.F16, false, 1));
        Weight.Grouped eight =
                weight(new Case("gptq", Encoding.ints(8, 16, true), 32, 64, DType.F16, false, 1));
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.putAll(Layouts.named("gptq").encode("four", four, memory));
        tensors.putAll(Layouts.named("gptq").encode("eight", eight, memory));
        WeightLayout layout = Layouts.named("gptq");
        save(layout, summary(four.grid(), false), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertThatThrownBy(() -> r.weight("eight"))
                    .hasMessageContaining("does not hold 4 bits for each of 64 inputs");
        }
        ObjectNode quantization =
                layout.quantizationConfig(summary(four.grid(), false), "9").orElseThrow();
        quantization.putObject("dynamic").putObject("+:eight").put("bits", 8);
        ObjectNode config = Json.object().put("model_type", "llama");
        config.set("quantization_config", quantization);
        Fixture.model(directory, config.toString(), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertThat(((Weight.Grouped) r.weight("four")).grid()).isEqualTo(four.grid());
            assertThat(((Weight.Grouped) r.weight("eight")).grid()).isEqualTo(eight.grid());
        }
    }

    @Test
    void aFileThatClaimsSymmetryWithoutItIsReadAsAsymmetric() throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 32, false);
        Weight.Grouped w = weight(new Case("gptq", spec, 32, 64, DType.F16, false, 1));
        var tensors = Layouts.named("gptq").encode(LINEAR, w, memory);
        save(Layouts.named("gptq"), summary(Encoding.ints(4, 32, true), false), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertThat(((Weight.Grouped) r.weight(LINEAR)).grid()).isEqualTo(spec);
        }
    }

    @Test
    void readsUnpackedZeroPointsOfCompressedTensors() throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 16, false);
        Weight.Grouped w = weight(new Case("", spec, 5, 64, DType.F16, false, 0));
        var tensors = Layouts.named("compressed-tensors").encode(LINEAR, w, memory);
        Tensor signed = Dequantizer.allocate(memory, DType.I8, 5, 4);
        for (long i = 0; i < 20; i++) {
            byte zero = w.zeros().bytes().get(ValueLayout.JAVA_BYTE, i);
            signed.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) (zero - 8));
        }
        tensors.put(LINEAR + ".weight_zero_point", signed);
        save(Layouts.named("compressed-tensors"), summary(spec, false), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertSame(((Weight.Grouped) r.weight(LINEAR)).zeros(), w.zeros());
        }
    }

    /// 15 inputs of 3 bits take two words in either packing: only the version tells.
    @ParameterizedTest
    @ValueSource(strings = {"0.16.0", "0.17.0"})
    void theVersionDecidesWhereTheWidthCannot(String version) throws IOException {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(3, 5, true);
        Weight.Grouped w = weight(new Case("", spec, 4, 15, DType.F16, false, 0));
        var tensors = Layouts.named("compressed-tensors").encode(LINEAR, w, memory);
        boolean older = version.equals("0.16.0");
        if (older) {
            Tensor gapped = Dequantizer.allocate(memory, DType.I32, 4, 2);
            for (long o = 0; o < 4; o++) {
                for (int i = 0; i < 15; i++) {
                    int code = BitStream.get(w.codes().bytes(), o * 2, 1, i, 3);
                    long at = o * 2 + i / 10;
                    int word = gapped.bytes().getAtIndex(ValueLayout.JAVA_INT, at);
                    gapped.bytes().setAtIndex(ValueLayout.JAVA_INT, at, word | code << i % 10 * 3);
                }
            }
            tensors.put(LINEAR + ".weight_packed", gapped);
        }
        WeightLayout layout = Layouts.named("compressed-tensors");
        ObjectNode q = layout.quantizationConfig(summary(spec, false), "9").orElseThrow();
        q.put("version", version);
        ObjectNode config = Json.object();
        config.set("quantization_config", q);
        Fixture.model(directory, config.toString(), tensors);
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertSame(((Weight.Grouped) r.weight(LINEAR)).codes(), w.codes());
        }
    }

    // ------------------------------------------------------------------ schemes

    private void scheme(String quantization) throws IOException {
        Weight.Grouped w =
                weight(new Case("", Encoding.ints(4, 16, true), 4, 64, DType.F16, false, 0));
        var tensors = Layouts.named("compressed-tensors").encode(LINEAR, w, memory);
        Fixture.model(directory, "{\"quantization_config\":" + quantization + "}", tensors);
    }

    private static String group(String targets, int bits, int size) {
        return """
        {"targets": [%s], "format": "pack-quantized", "weights":
          {"num_bits": %d, "type": "int", "strategy": "group", "group_size": %d, "symmetric": true}}
        """
                .formatted(targets, bits, size);
    }

    private static String groups(String... groups) {
        StringBuilder all = new StringBuilder();
        for (int i = 0; i < groups.length; i++) {
            all.append(i == 0 ? "" : ",").append("\"group_" + i + "\": " + groups[i]);
        }
        return "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\","
                + " \"config_groups\": {"
                + all
                + "}}";
    }

    @Test
    void namesComeBeforePatternsBeforeClasses() throws IOException {
        String linear = group("\"Linear\"", 8, 16);
        String pattern = group("\"re:model.*up_proj$\"", 8, 16);
        String elsewhere = group("\"re:up_proj$\"", 8, 16);
        String right = group("\"" + LINEAR + "\"", 4, 16);
        for (String q :
                List.of(
                        groups(linear, pattern, right),
                        groups(linear, group("\"re:model.*up_proj$\"", 4, 16)),
                        groups(elsewhere, group("\"Linear\"", 4, 16)),
                        groups(group("\"LlamaMLP\"", 4, 16)))) {
            scheme(q);
            try (Checkpoint checkpoint = Checkpoint.open(directory);
                    TensorReader r = checkpoint.reader()) {
                assertThat(((Weight.Grouped) r.weight(LINEAR)).grid().codes().bits())
                        .as(q)
                        .isEqualTo(4);
            }
        }
        scheme(groups(elsewhere, group("\"re:lm_head\"", 4, 16)));
        try (Checkpoint checkpoint = Checkpoint.open(directory);
                TensorReader r = checkpoint.reader()) {
            assertThatThrownBy(() -> r.weight(LINEAR))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining("no target in config_groups fits '" + LINEAR);
        }
        scheme(groups(group("\"re:(\"", 4, 16)));
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("no regular expression");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"quant_method\": \"fp8\"}",
                "{\"quant_method\": \"gptq\", \"bits\": 4, \"checkpoint_format\": \"marlin\"}",
                "{\"quant_method\": \"gptq\", \"bits\": 4, \"is_marlin_format\": true}",
                "{\"quant_method\": \"gptq\", \"bits\": 5}",
                "{\"quant_method\": \"gptq\", \"bits\": 4, \"pack_dtype\": \"int16\"}",
                "{\"some\": \"thing\"}"
            })
    void refusesOtherQuantizations(String q) throws IOException {
        scheme(q);
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll(
                        directory.toString(), "but llmc reads compressed-tensors, gptq, gptq_v2");
    }

    @Test
    void refusesOtherSchemesOfCompressedTensors() throws IOException {
        String packed = groups(group("\"Linear\"", 4, 16));
        for (String q :
                List.of(
                        packed.replace("\"num_bits\": 4", "\"num_bits\": 9"),
                        packed.replace("\"int\"", "\"float\""),
                        packed.replace("\"group\",", "\"tensor\","),
                        packed.replace("pack-quantized", "nvfp4-pack-quantized"),
                        packed.replaceFirst(
                                "\\{", "{\"transform_config\": {\"config_groups\": {\"r\": 1}},"),
                        packed.replaceFirst(
                                "\\{",
                                "{\"sparsity_config\": {\"format\": \"sparse-24-bytemask\"},"))) {
            scheme(q);
            assertThatThrownBy(() -> Checkpoint.open(directory).close())
                    .as(q)
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("but llmc reads");
        }
    }
}
