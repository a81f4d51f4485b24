// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.awq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.GridSpec;
import io.llmc.formats.Json;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.Solver;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.SequencedMap;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What AWQ's files can say is read and written, all else is refused before any work.
class AwqLayoutTest {
    private static final String UP = "model.layers.0.mlp.up_proj";
    private static final Encoding.Grid<Codes.Ints> GRID = Encoding.ints(4, 32, false);
    private static final WeightLayout AWQ = Layouts.named("awq");
    private static final Solver RTN = new Solver("rtn", 0, Solver.Order.STORED, false, false);

    @TempDir Path directory;
    private final Arena memory = Arena.ofShared();

    @AfterEach
    void free() {
        memory.close();
    }

    private Weight.Grouped weight(DType scales, boolean groupIndex) {
        return Fixture.weight(memory, new Random(4), GRID, 16, 64, scales, groupIndex, 0);
    }

    private static QuantPlan plan(Map<String, Scheme> schemes, Solver solver, String... plain) {
        SequencedMap<String, Scheme> byLinear = new LinkedHashMap<>(schemes);
        return new QuantPlan(
                new Schemes(byLinear, Optional.empty()),
                List.of(new QuantPlan.Solved(solver, Set.copyOf(schemes.keySet()))),
                List.of(plain),
                "llama",
                false);
    }

    private static void refused(QuantPlan plan, String... words) {
        assertThatThrownBy(() -> AWQ.check(plan))
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll(words);
    }

    @Test
    void whatOneEntryCannotSayIsRefusedInThePlan() {
        Scheme four = Scheme.of(GRID);
        Scheme wide = Scheme.of(Encoding.ints(4, 128, false));
        refused(plan(Map.of(UP, Scheme.of(Encoding.ints(3, 32, false))), RTN), UP, "3 bits");
        Scheme floats = Scheme.of(new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW));
        refused(plan(Map.of(UP, floats), RTN), UP, "F8_E4M3");
        Scheme inputs =
                new Scheme(
                        GRID,
                        Optional.of(new ActivationScheme(Codes.Floats.E4M3, Tiles.ROW, true)));
        refused(plan(Map.of(UP, inputs), RTN), UP, "inputs");
        refused(plan(Map.of(UP, four, "model.layers.1.mlp.up_proj", wide), RTN), "one grid", "128");
        Solver indexed = new Solver("gptq", 0.01, Solver.Order.ACTIVATIONS, true, true);
        refused(plan(Map.of(UP, four), indexed), UP, "group index");
        String gate = "model.layers.0.mlp.gate";
        refused(plan(Map.of(gate + "_proj", four), RTN, gate), "part of '" + gate + "_proj'");
        QuantPlan conv1d =
                new QuantPlan(
                        new Schemes(new LinkedHashMap<>(Map.of(UP, four)), Optional.empty()),
                        List.of(new QuantPlan.Solved(RTN, Set.of(UP))),
                        List.of(),
                        "gpt2",
                        true);
        refused(conv1d, "Conv1D", "gpt2");
        assertThat(AWQ.check(plan(Map.of(UP, four), RTN, "lm_head"))).isEmpty();
        Scheme symmetric = Scheme.of(Encoding.ints(4, 32, true));
        assertThat(AWQ.check(plan(Map.of(UP, symmetric), RTN)).getFirst()).contains("vLLM");
    }

    @Test
    void sizesThatFillNoWordsAreRefused() {
        GridSpec<Codes.Ints> spec = AWQ.grid(GRID, DType.BF16);
        assertThat(spec.scaleType()).isEqualTo(DType.F16);
        for (LayerPlan layer :
                List.of(LayerPlan.of(UP, 12, 64, spec), LayerPlan.of(UP, 16, 48, spec))) {
            assertThatThrownBy(() -> AWQ.plan(layer))
                    .isInstanceOf(UserException.class)
                    .hasMessageContainingAll(UP, "multiple of 8 outputs");
        }
        assertThatThrownBy(() -> AWQ.encode(UP, weight(DType.F16, true), memory))
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll(UP, "group index");
    }

    /// Scales of BF16 are read as F16, which holds these exactly, and written as they were.
    @Test
    void scalesAreThoseOfItsKernels() throws IOException {
        Weight.Grouped w = weight(DType.BF16, false);
        SequencedMap<String, Tensor> tensors = AWQ.encode(UP, w, memory);
        save("config.json", tensors);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            Weight.Grouped read = (Weight.Grouped) r.weight(UP);
            assertThat(read.scales().dtype()).isEqualTo(DType.F16);
            Tensor values = Dequantizer.values(read, DType.F32, memory);
            Tensor exact = Dequantizer.values(exact(w), DType.F32, memory);
            for (long i = 0; i < values.shape().size(); i++) {
                assertThat(Floats.get(values.bytes(), DType.F32, i))
                        .isEqualTo(Floats.roundToF16(Floats.get(exact.bytes(), DType.F32, i)));
            }
            Tensor again = AWQ.encode(UP, read, DType.BF16, memory).get(UP + ".scales");
            assertThat(again.bytes().mismatch(tensors.get(UP + ".scales").bytes())).isEqualTo(-1);
        }
    }

    /// Whose products are not rounded.
    private Weight.Grouped exact(Weight.Grouped w) {
        Tensor scales = Dequantizer.allocate(memory, DType.F32, w.scales().shape().dims());
        Dequantizer.convert(scales, w.scales());
        return new Weight.Grouped(
                w.grid(), w.inFeatures(), w.codes(), scales, w.zeros(), w.groupIndex());
    }

    @Test
    void theFirstFilesOfAutoAwqAreRead() throws IOException {
        save("quant_config.json", AWQ.encode(UP, weight(DType.F16, false), memory));
        Files.writeString(
                directory.resolve("quant_config.json"),
                "{\"zero_point\": true, \"q_group_size\": 32, \"w_bit\": 4, \"version\": \"GEMM\"}");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(r.weight(UP).encoding()).isEqualTo(GRID);
            assertThat(c.packedLinears()).containsExactly(UP);
            assertThat(c.scheme(UP)).contains(Scheme.of(GRID));
            assertThat(c.scheme("lm_head")).isEmpty();
        }
    }

    private void save(String file, Map<String, Tensor> tensors) throws IOException {
        ObjectNode config = Json.object().put("model_type", "llama");
        if (file.equals("config.json")) {
            QuantPlan plan = plan(Map.of(UP, Scheme.of(GRID)), RTN, "lm_head");
            config.set("quantization_config", AWQ.quantizationConfig(plan, "9").orElseThrow());
        }
        Fixture.model(directory, config.toString(), tensors);
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '`',
            value = {
                "bits, \"4\"",
                "group_size, 0",
                "group_size, \"all\"",
                "zero_point, 1",
                "version, 2",
                "modules_to_not_convert, 4",
                "pack_dtype, 32",
                "lm_head, \"no\""
            })
    void keysHaveTheirTypes(String key, String value) throws IOException {
        assertThatThrownBy(() -> open(key, value))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'quantization_config." + key + "'");
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '`',
            value = {"bits, 8", "version, \"gemv\"", "pack_dtype, \"int16\""})
    void otherWordsAreRefused(String key, String value) {
        assertThatThrownBy(() -> open(key, value))
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll("AWQ", "but llmc reads");
    }

    private void open(String key, String value) throws IOException {
        String config =
                """
                {"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4,
                 "group_size": 32, "zero_point": true, "version": "gemm",
                 "modules_to_not_convert": null, "pack_dtype": "int32", "lm_head": false}}\
                """
                        .replaceFirst("\"%s\": [^,}]+".formatted(key), "\"" + key + "\": " + value);
        Fixture.model(
                directory, config, Map.of("a", Fixture.bytes(memory, new Random(), DType.U8, 1)));
        Checkpoint.open(directory).close();
    }
}
