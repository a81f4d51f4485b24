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
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
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

/// Reads what Python tools wrote, gets the values that they get, and writes the same bytes.
class FormatOraclesTest {
    private static final String OLD_3_BIT = "old_w3a16_sym_g64_forced_pack_bf16";

    /// Integers of a byte each, which vLLM's kernel wants packed.
    private static final String W4_AFP8 = "compressed-tensors/w4afp8_g128_bf16";

    /// Its expectation was taken before it was saved: some zeros there have a sign, which no code
    /// has.
    private static final String MARLIN = "old_marlin24_w4a16_g128_f16";

    /// Whose tensors are read only: they are written in another of their library's formats.
    private static final Set<String> RELAID =
            Set.of(
                    W4_AFP8,
                    "compressed-tensors-0.12/" + OLD_3_BIT,
                    "compressed-tensors-0.12/" + MARLIN,
                    "compressed-tensors-0.12/old_sparse24_bitmask_fp8_dynamic_bf16");

    /// Every directory that there is. Without oracles one name, whose tests say that there are
    /// none.
    static List<String> all() {
        List<String> names =
                Oracles.directories("formats").stream()
                        .flatMap(tool ->
                                Oracles.directories("formats/" + tool.getFileName()).stream()
                                        .map(d -> tool.getFileName() + "/" + d.getFileName()))
                        .toList();
        return names.isEmpty() ? List.of("gptqmodel") : names;
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
    @MethodSource("all")
    void dequantizesToTheBitsThatTheWriterReads(String name) throws Exception {
        Path directory = Oracles.require("formats/" + name);
        ObjectNode expected = Json.readObject(directory.resolve("expected.json"));
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            for (String linear : linears(directory)) {
                Weight w = r.weight(linear);
                Optional<Encoding> said = c.scheme(linear).map(Scheme::weights);
                assertThat(w.encoding()).as(linear).isEqualTo(said.orElse(w.encoding()));
                Tensor values = Dequantizer.values(w, DType.F32, r.arena());
                if (!name.endsWith(MARLIN)) {
                    assertThat(sha256(values))
                            .as(linear)
                            .isEqualTo(expected.get(linear + ".weight").get("sha256_f32").asText());
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("all")
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
                if (name.endsWith(MARLIN)) {
                    assertEqual(weight, values, expected);
                } else {
                    assertThat(values.bytes().mismatch(expected)).as(weight).isEqualTo(-1);
                }
            }
        }
    }

    /// As numbers, for which the sign of a zero does not count.
    private static void assertEqual(String weight, Tensor values, MemorySegment expected) {
        for (long i = 0; i < values.shape().size(); i++) {
            float value = Floats.get(values.bytes(), DType.F32, i);
            if (value != Floats.get(expected, DType.F32, i)) {
                throw new AssertionError("%s at %d: %s".formatted(weight, i, value));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("all")
    void writesTheSameTensorsAgain(String name) {
        Path directory = Oracles.require("formats/" + name);
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader();
                Arena memory = Arena.ofConfined()) {
            for (String linear : linears(directory)) {
                Weight w = r.weight(linear);
                WeightLayout layout = layout(c, linear);
                if (w instanceof Weight.Dense) {
                    assertThatThrownBy(() -> layout.encode(linear, w, memory))
                            .isInstanceOfAny(UserException.class, IllegalArgumentException.class);
                    continue;
                }
                var tensors = written(r, layout, linear, w, memory);
                if (!RELAID.contains(name)) {
                    assertThat(tensors.keySet()).isEqualTo(tensorsOf(c, linear));
                    tensors.forEach((n, tensor) -> assertSame(n, tensor, r.tensor(n)));
                }
            }
        }
    }

    /// Everything that is written of a layer, in its plan's order.
    private static SequencedMap<String, Tensor> written(
            TensorReader r, WeightLayout layout, String linear, Weight w, Arena memory) {
        Checkpoint c = r.checkpoint();
        DType scaleType = scaleType(c, linear);
        Scheme scheme = c.scheme(linear).orElseThrow();
        var tensors = new LinkedHashMap<>(layout.encode(linear, w, scheme, scaleType, memory));
        r.rounding(linear)
                .ifPresent(inputs -> tensors.putAll(layout.encode(linear, inputs, memory)));
        GridSpec<?> grid = new GridSpec<>((Encoding.Grid<?>) w.encoding(), scaleType, 0);
        boolean indexed = w instanceof Weight.Grouped g && g.groupIndex() != null;
        assertThat(infos(tensors))
                .containsExactlyElementsOf(
                        layout.plan(
                                new LayerPlan(
                                        linear,
                                        w.outFeatures(),
                                        w.inFeatures(),
                                        scheme,
                                        grid,
                                        indexed)));
        return tensors;
    }

    /// In which the file has a layer's scales.
    private static DType scaleType(Checkpoint c, String linear) {
        return Stream.of(".scales", ".weight_scale", ".scale_packed")
                .map(name -> linear + name)
                .filter(c::has)
                .map(name -> c.info(name).dtype())
                .findFirst()
                .orElseThrow();
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

    static Stream<String> configs() {
        return all().stream()
                .filter(name -> name.startsWith("compressed-tensors/") && !name.equals(W4_AFP8));
    }

    @ParameterizedTest
    @MethodSource("configs")
    void writesTheConfigOfCompressedTensors(String name) {
        Path directory = Oracles.require("formats/" + name);
        try (Checkpoint c = Checkpoint.open(directory)) {
            ObjectNode expected = c.config().quantization().orElseThrow();
            ObjectNode ours = config(c, name.contains("_gptq_"));
            assertThat(ours.path("config_groups")).hasSameSizeAs(expected.path("config_groups"));
            if (ours.path("config_groups").size() > 1) {
                // Other words for the same layers.
                for (ObjectNode q : List.of(expected, ours)) {
                    q.path("config_groups").forEach(g -> ((ObjectNode) g).remove("targets"));
                }
            }
            assertThat(ours).isEqualTo(expected);
        }
    }

    /// vLLM's kernel for 4-bit weights and inputs of small floats loads them packed.
    @Test
    void integersWithFloatInputsArePacked() {
        Path directory = Oracles.require("formats/" + W4_AFP8);
        Path packed = Oracles.require("formats/compressed-tensors/w4afp8_g128_packed_bf16");
        try (Checkpoint c = Checkpoint.open(directory);
                Checkpoint p = Checkpoint.open(packed)) {
            assertThat(config(c, false)).isEqualTo(p.config().quantization().orElseThrow());
        }
    }

    private static ObjectNode config(Checkpoint c, boolean ordered) {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        linears(c.directory()).forEach(l -> schemes.put(l, c.scheme(l).orElseThrow()));
        assertThat(c.scheme("lm_head")).isEmpty();
        Solver.Order order = ordered ? Solver.Order.ACTIVATIONS : Solver.Order.STORED;
        QuantPlan plan =
                new QuantPlan(
                        new Schemes(schemes, c.kvCache()),
                        List.of(
                                new QuantPlan.Solved(
                                        new Solver("gptq", 0, order, false, false),
                                        schemes.keySet())),
                        List.of("lm_head"),
                        "llama",
                        false);
        return Layouts.named("compressed-tensors").quantizationConfig(plan, "1").orElseThrow();
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
            Layouts.named("gptq_v2")
                    .writeExtraFiles(
                            out,
                            Layouts.named("gptq_v2")
                                    .quantizationConfig(summary, "1")
                                    .orElseThrow());
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
