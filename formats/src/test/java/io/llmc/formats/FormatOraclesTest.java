// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.formats.safetensors.SafetensorsHeader;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Reads what Python tools wrote, gets the values that they get, and writes the same bytes.
class FormatOraclesTest {
    private static final String OLD_3_BIT = "old_w3a16_sym_g64_forced_pack_bf16";

    /// What llmc does not read yet. Every other directory that there is must pass all tests here.
    private static final Set<String> TO_COME =
            Set.of(
                    "bitsandbytes/int8_vectorwise_bf16",
                    "bitsandbytes/nf4_b64_bf16",
                    "bitsandbytes/nf4_b64_double_quant_bf16",
                    "compressed-tensors/fp8_block128_bf16",
                    "compressed-tensors/fp8_static_tensor_bf16",
                    "compressed-tensors/mxfp4a16_bf16",
                    "compressed-tensors/mxfp8a16_bf16",
                    "compressed-tensors/nvfp4_bf16",
                    "compressed-tensors/nvfp4a16_bf16",
                    "compressed-tensors/w4a8_int_g128_bf16",
                    "compressed-tensors/w4afp8_g128_bf16",
                    "compressed-tensors/w6a16_sym_g64_f32",
                    "compressed-tensors/w8a8_int_dynamic_token_bf16",
                    "compressed-tensors/w8a8_int_static_tensor_f32",
                    "compressed-tensors-0.12/old_kv_fp8_fp8_bf16",
                    "compressed-tensors-0.12/old_marlin24_w4a16_g128_f16",
                    "compressed-tensors-0.12/old_nvfp4_bf16",
                    "compressed-tensors-0.12/old_sparse24_bitmask_dense_bf16",
                    "compressed-tensors-0.12/old_sparse24_bitmask_fp8_dynamic_bf16",
                    "compressed-tensors-0.12/old_w4a8_int_g128_bf16");

    /// Of every tool. Without oracles one name, whose tests say that there are none.
    private static List<String> all() {
        List<String> names =
                Oracles.directories("formats").stream()
                        .flatMap(tool ->
                                Oracles.directories("formats/" + tool.getFileName()).stream()
                                        .map(d -> tool.getFileName() + "/" + d.getFileName()))
                        .toList();
        return names.isEmpty() ? List.of("gptqmodel") : names;
    }

    static Stream<String> read() {
        return all().stream().filter(name -> !TO_COME.contains(name));
    }

    static Stream<String> refused() {
        return all().stream().filter(TO_COME::contains);
    }

    /// The linear layers of a directory, from the names in its expected.json.
    private static List<String> linears(Path directory) {
        List<String> names = new ArrayList<>();
        Json.readObject(directory.resolve("expected.json"))
                .fieldNames()
                .forEachRemaining(names::add);
        return names.stream().map(n -> n.substring(0, n.length() - ".weight".length())).toList();
    }

    private static WeightLayout layout(Checkpoint c, String linear) {
        return Layouts.ALL.stream().filter(l -> l.matches(c, linear)).findFirst().orElseThrow();
    }

    @ParameterizedTest
    @MethodSource("read")
    void dequantizesToTheBitsThatTheWriterReads(String name) throws Exception {
        Path directory = Oracles.require("formats/" + name);
        ObjectNode expected = Json.readObject(directory.resolve("expected.json"));
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            for (String linear : linears(directory)) {
                Weight w = r.weight(linear);
                assertThat(w.encoding())
                        .as(linear)
                        .isEqualTo(c.scheme(linear).orElseThrow().weights());
                Tensor values = Dequantizer.values(w, DType.F32, r.arena());
                assertThat(sha256(values))
                        .as(linear)
                        .isEqualTo(expected.get(linear + ".weight").get("sha256_f32").asText());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("read")
    void dequantizesToTheExpectedTensors(String name) throws Exception {
        Path directory = Oracles.require("formats/" + name);
        Path file = directory.resolve("expected.safetensors");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader();
                var channel = FileChannel.open(file)) {
            SafetensorsHeader header = SafetensorsHeader.read(file, channel);
            assertThat(header.tensors()).isNotEmpty();
            for (SafetensorsHeader.Entry e : header.tensors().values()) {
                String weight = e.info().name();
                String linear = weight.substring(0, weight.length() - ".weight".length());
                MemorySegment expected =
                        channel.map(
                                FileChannel.MapMode.READ_ONLY, e.offset(), e.bytes(), r.arena());
                Tensor values = Dequantizer.values(r.weight(linear), DType.F32, r.arena());
                assertThat(values.shape()).isEqualTo(e.info().shape());
                assertThat(values.bytes().mismatch(expected)).as(weight).isEqualTo(-1);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("read")
    void writesTheSameTensorsAgain(String name) {
        Path directory = Oracles.require("formats/" + name);
        boolean relaid = name.endsWith(OLD_3_BIT);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader();
                Arena memory = Arena.ofConfined()) {
            for (String linear : linears(directory)) {
                Weight w = r.weight(linear);
                WeightLayout layout = layout(c, linear);
                if (w instanceof Weight.Dense) {
                    assertThatThrownBy(() -> layout.encode(linear, w, memory))
                            .isInstanceOf(UserException.class);
                    continue;
                }
                DType scaleType = scaleType(c, linear);
                var tensors = layout.encode(linear, w, scaleType, memory);
                assertThat(infos(tensors))
                        .containsExactlyElementsOf(
                                layout.plan(
                                        LayerPlan.of(
                                                        linear,
                                                        w.outFeatures(),
                                                        w.inFeatures(),
                                                        new GridSpec<>(
                                                                (Encoding.Grid<?>) w.encoding(),
                                                                scaleType,
                                                                0))
                                                .withGroupIndex(
                                                        w instanceof Weight.Grouped g
                                                                && g.groupIndex() != null)));
                assertThat(tensors.keySet()).isEqualTo(tensorsOf(c, linear));
                tensors.forEach((tensor, written) -> {
                    if (!relaid || !tensor.endsWith("weight_packed")) {
                        assertSame(tensor, written, r.tensor(tensor));
                    }
                });
            }
        }
    }

    /// In which the file has a layer's scales.
    private static DType scaleType(Checkpoint c, String linear) {
        String name = c.has(linear + ".scales") ? ".scales" : ".weight_scale";
        return c.info(linear + name).dtype();
    }

    private static Set<String> tensorsOf(Checkpoint c, String linear) {
        Set<String> names = new TreeSet<>();
        c.names().stream().filter(n -> n.startsWith(linear + ".")).forEach(names::add);
        return names;
    }

    private static List<TensorInfo> infos(SequencedMap<String, Tensor> tensors) {
        return tensors.entrySet().stream()
                .map(e -> new TensorInfo(e.getKey(), e.getValue().dtype(), e.getValue().shape()))
                .toList();
    }

    private static void assertSame(String name, Tensor actual, Tensor expected) {
        assertThat(actual.dtype()).as(name).isEqualTo(expected.dtype());
        assertThat(actual.shape()).as(name).isEqualTo(expected.shape());
        assertThat(actual.bytes().mismatch(expected.bytes())).as(name).isEqualTo(-1);
    }

    @Test
    void threeBitWordsWithGapsBecomeOneStream() {
        Path old = Oracles.require("formats/compressed-tensors-0.12/" + OLD_3_BIT);
        String linear = "model.layers.0.mlp.down_proj";
        try (Checkpoint c = Checkpoint.open(old);
                TensorReader r = c.reader()) {
            assertThat(c.info(linear + ".weight_packed").shape().dim(1)).isEqualTo(26);
            assertThat(((Weight.Grouped) r.weight(linear)).codes().cols()).isEqualTo(24);
        }
    }

    @Test
    void codesOfCompressedTensorsAreTheMappedBytes() {
        Path directory = Oracles.require("formats/compressed-tensors/w4a16_sym_g128_bf16");
        String linear = "model.layers.0.mlp.down_proj";
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            Weight.Grouped w = (Weight.Grouped) r.weight(linear);
            assertThat(w.codes().bytes().address())
                    .isEqualTo(r.tensor(linear + ".weight_packed").bytes().address());
            assertThat(w.scales().bytes().address())
                    .isEqualTo(r.tensor(linear + ".weight_scale").bytes().address());
            assertThat(w.codes().bytes().isReadOnly()).isTrue();
            assertThat(w.codes().bytes().isMapped()).isTrue();
        }
    }

    @Test
    void specsComeFromTheGroupThatALayerMatches() {
        Path directory =
                Oracles.require(
                        "formats/compressed-tensors/mixed_attn_w8_channel_mlp_w4asym_g64_bf16");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(((Weight.Grouped) r.weight("model.layers.1.self_attn.k_proj")).grid())
                    .isEqualTo(Encoding.ints(8, Tiles.ALL, true));
            assertThat(((Weight.Grouped) r.weight("model.layers.1.mlp.up_proj")).grid())
                    .isEqualTo(Encoding.ints(4, 64, false));
        }
    }

    @Test
    void onlyUnsortedGroupIndicesAreKept() {
        assertThat(groupIndex("gptqmodel/gptq_v1_w4_g64_sym_descact1")).isNotNull();
        assertThat(groupIndex("gptqmodel/gptq_v1_w4_g128_sym_descact0")).isNull();
    }

    private static Object groupIndex(String name) {
        try (Checkpoint c = Checkpoint.open(Oracles.require("formats/" + name));
                TensorReader r = c.reader()) {
            Tensor index = ((Weight.Grouped) r.weight("model.layers.0.mlp.down_proj")).groupIndex();
            return index == null ? null : index.toString();
        }
    }

    @ParameterizedTest
    @MethodSource("refused")
    void refusesEveryOtherQuantizationByName(String name) {
        Path directory = Oracles.require("formats/" + name);
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("but llmc reads")
                .hasMessageContaining(format(directory));
        try (Checkpoint c = Checkpoint.inspect(directory);
                TensorReader r = c.reader()) {
            assertThat(c.names()).isNotEmpty();
            assertThatThrownBy(() -> r.weight("lm_head")).isInstanceOf(UserException.class);
        }
    }

    /// The word by which a user would know the format.
    private static String format(Path directory) {
        ObjectNode q = HfConfig.read(directory.resolve("config.json")).quantization().orElseThrow();
        String method = q.path("quant_method").asText();
        if (!method.equals("compressed-tensors")) {
            return method;
        }
        String sparsity = q.path("sparsity_config").path("format").asText("dense");
        String format = q.path("format").asText();
        return sparsity.equals("dense") ? format : sparsity;
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "w4a16_sym_g128_bf16",
                "w4a16_asym_g128_bf16",
                "w4a16_sym_channel_f32",
                "w4a16_sym_g64_gptq_actorder_static_f32",
                "w3a16_sym_g64_bf16"
            })
    void writesTheConfigOfCompressedTensors(String name) {
        Path directory = Oracles.require("formats/compressed-tensors/" + name);
        boolean ordered = name.contains("actorder");
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            Encoding.Grid<Codes.Ints> spec =
                    ((Weight.Grouped) r.weight("model.layers.0.mlp.up_proj")).grid();
            Solver.Order order = ordered ? Solver.Order.ACTIVATIONS : Solver.Order.STORED;
            QuantPlan summary =
                    Fixture.plan(
                            spec,
                            new Solver("gptq", 0.01, order, false, true),
                            "up_proj",
                            "lm_head");
            ObjectNode expected = c.config().quantization().orElseThrow();
            // The observer is how scales were found, which readers do not use.
            ObjectNode weights = (ObjectNode) expected.at("/config_groups/group_0/weights");
            weights.put("observer", "memoryless_minmax");
            assertThat(Layouts.named("compressed-tensors").quantizationConfig(summary, "1"))
                    .contains(expected);
        }
    }

    /// Schemes as the config says them, and written again as they are.
    @ParameterizedTest
    @ValueSource(strings = {"fp8_dynamic_channel_bf16", "mixed_attn_fp8_mlp_w4_bf16"})
    void writesTheConfigOfSchemesWithFloats(String name) {
        Path directory = Oracles.require("formats/compressed-tensors/" + name);
        try (Checkpoint c = Checkpoint.open(directory)) {
            SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
            linears(directory).forEach(l -> schemes.put(l, c.scheme(l).orElseThrow()));
            assertThat(c.scheme("lm_head")).isEmpty();
            Solver solver = new Solver("rtn", 0, Solver.Order.STORED, false, false);
            QuantPlan plan =
                    new QuantPlan(
                            new Schemes(schemes, Optional.empty()),
                            List.of(new QuantPlan.Solved(solver, schemes.keySet())),
                            List.of("lm_head"),
                            "llama",
                            false);
            ObjectNode expected = c.config().quantization().orElseThrow();
            ObjectNode ours =
                    Layouts.named("compressed-tensors").quantizationConfig(plan, "1").orElseThrow();
            // Other words for the same layers.
            for (ObjectNode q : List.of(expected, ours)) {
                q.path("config_groups").forEach(g -> ((ObjectNode) g).remove("targets"));
            }
            assertThat(ours).isEqualTo(expected);
        }
    }

    @Test
    void gptqConfigHasTheKeysOfGptqModel() throws Exception {
        Path directory = Oracles.require("formats/gptqmodel/gptq_v2_w4_g128_asym_descact0");
        QuantPlan summary =
                Fixture.plan(
                        Encoding.ints(4, 128, false),
                        new Solver("gptq", 0.05, Solver.Order.STORED, false, true),
                        "up_proj",
                        "lm_head");
        ObjectNode ours = Layouts.named("gptq_v2").quantizationConfig(summary, "1").orElseThrow();
        ObjectNode theirs = Json.readObject(directory.resolve("quantize_config.json"));
        assertThat(ours.remove("meta").get("quantizer").get(0).asText()).isEqualTo("llmc:1");
        theirs.remove("meta");
        assertThat(ours).isEqualTo(theirs);
        Path out = Files.createTempDirectory("llmc");
        try {
            Layouts.named("gptq_v2").writeExtraFiles(out, summary, "1");
            ObjectNode file = Json.readObject(out.resolve("quantize_config.json"));
            file.remove("meta");
            assertThat(file).isEqualTo(theirs);
        } finally {
            Files.delete(out.resolve("quantize_config.json"));
            Files.delete(out);
        }
    }

    private static String sha256(Tensor values) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (ByteBuffer chunk :
                (Iterable<ByteBuffer>) CheckpointWriter.chunks(values.bytes())::iterator) {
            digest.update(chunk);
        }
        return HexFormat.of().formatHex(digest.digest());
    }
}
