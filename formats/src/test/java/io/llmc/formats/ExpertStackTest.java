// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Experts in one tensor: every layer of every expert as the README of the oracles describes it,
/// and the same bytes again when they are written.
class ExpertStackTest {
    private static final int EXPERTS = 3;
    private static final int CHANNELS = 5;
    private static final int HIDDEN = 37;

    @TempDir Path temp;

    enum Form {
        OUTPUTS_FIRST("qwen3_5_moe", false, false),
        INPUTS_FIRST("llama4_text", true, false),
        IN_TURN("gpt_oss", true, true);

        private final String modelType;
        private final boolean inputsFirst;
        private final boolean inTurn;

        Form(String modelType, boolean inputsFirst, boolean inTurn) {
            this.modelType = modelType;
            this.inputsFirst = inputsFirst;
            this.inTurn = inTurn;
        }

        /// The element of gate (0) or up (1).
        long fused(int layer, long expert, long out, long in) {
            long row = inTurn ? 2 * out + layer : layer * CHANNELS + out;
            long at = inputsFirst ? in * 2 * CHANNELS + row : row * HIDDEN + in;
            return expert * 2 * CHANNELS * HIDDEN + at;
        }

        long down(long expert, long out, long in) {
            long at = inputsFirst ? in * HIDDEN + out : out * CHANNELS + in;
            return expert * CHANNELS * HIDDEN + at;
        }
    }

    private Path model(Form form, DType type, Arena memory) throws IOException {
        Random random = new Random(5);
        long[] fused =
                form.inputsFirst
                        ? new long[] {EXPERTS, HIDDEN, 2 * CHANNELS}
                        : new long[] {EXPERTS, 2 * CHANNELS, HIDDEN};
        long[] down =
                form.inputsFirst
                        ? new long[] {EXPERTS, CHANNELS, HIDDEN}
                        : new long[] {EXPERTS, HIDDEN, CHANNELS};
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put("a.router.weight", Fixture.bytes(memory, random, type, EXPERTS, HIDDEN));
        tensors.put("a.experts.gate_up_proj", Fixture.bytes(memory, random, type, fused));
        tensors.put(
                "a.experts.gate_up_proj_bias",
                Fixture.bytes(memory, random, type, EXPERTS, 2 * CHANNELS));
        tensors.put("a.experts.down_proj", Fixture.bytes(memory, random, type, down));
        tensors.put(
                "a.experts.down_proj_bias", Fixture.bytes(memory, random, type, EXPERTS, HIDDEN));
        tensors.put("b.norm", Fixture.bytes(memory, random, type, HIDDEN));
        String config = "{\"model_type\": \"%s\"}".formatted(form.modelType);
        return Fixture.model(temp.resolve(form.name() + type), config, tensors);
    }

    private static long bits(Tensor t, long at) {
        return t.dtype() == DType.F32
                ? t.bytes().getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, at)
                : t.bytes().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, at);
    }

    @ParameterizedTest
    @EnumSource(Form.class)
    void everyExpertHasItsOwnLayers(Form form) throws IOException {
        for (DType type : List.of(DType.F32, DType.BF16)) {
            try (Arena memory = Arena.ofConfined()) {
                Path model = model(form, type, memory);
                try (Checkpoint whole = Checkpoint.ofFile(model.resolve("model.safetensors"));
                        Checkpoint parts = Checkpoint.open(model);
                        TensorReader before = whole.reader();
                        TensorReader after = parts.reader()) {
                    assertThat(parts.names()).hasSize(2 + EXPERTS * 6).contains("a.router.weight");
                    assertLayers(form, before, after);
                }
            }
        }
    }

    private static void assertLayers(Form form, TensorReader before, TensorReader after) {
        Tensor fused = before.tensor("a.experts.gate_up_proj");
        Tensor fusedBias = before.tensor("a.experts.gate_up_proj_bias");
        Tensor down = before.tensor("a.experts.down_proj");
        for (int e = 0; e < EXPERTS; e++) {
            String p = "a.experts." + e + ".";
            List<String> layers = List.of("gate_proj", "up_proj");
            for (int l = 0; l < 2; l++) {
                Tensor w = after.tensor(p + layers.get(l) + ".weight");
                Tensor bias = after.tensor(p + layers.get(l) + ".bias");
                assertThat(w.shape().dims()).containsExactly(CHANNELS, HIDDEN);
                assertThat(bias.shape().dims()).containsExactly(CHANNELS);
                for (int o = 0; o < CHANNELS; o++) {
                    for (int i = 0; i < HIDDEN; i++) {
                        assertThat(bits(w, (long) o * HIDDEN + i))
                                .isEqualTo(bits(fused, form.fused(l, e, o, i)));
                    }
                    long at = form.inTurn ? 2L * o + l : (long) l * CHANNELS + o;
                    assertThat(bits(bias, o)).isEqualTo(bits(fusedBias, 2L * CHANNELS * e + at));
                }
            }
            Tensor w = after.tensor(p + "down_proj.weight");
            assertThat(w.shape().dims()).containsExactly(HIDDEN, CHANNELS);
            for (int o = 0; o < HIDDEN; o++) {
                for (int i = 0; i < CHANNELS; i++) {
                    assertThat(bits(w, (long) o * CHANNELS + i))
                            .isEqualTo(bits(down, form.down(e, o, i)));
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(Form.class)
    void theSameFileComesOut(Form form) throws IOException {
        try (Arena memory = Arena.ofConfined()) {
            Path model = model(form, DType.BF16, memory);
            Path out = copy(model, List.of());
            assertThat(out.resolve("model.safetensors"))
                    .hasSameBinaryContentAs(model.resolve("model.safetensors"));
        }
    }

    /// Fewer experts are one tensor, too; where a layer is not plain, all stand by themselves.
    @Test
    void onlyWholeBlocksAreOneTensor() throws IOException {
        try (Arena memory = Arena.ofConfined()) {
            Path model = model(Form.INPUTS_FIRST, DType.BF16, memory);
            Path fewer =
                    copy(
                            model,
                            List.of(
                                    "a.experts.2.gate_proj.weight",
                                    "a.experts.2.up_proj.weight",
                                    "a.experts.2.down_proj.weight",
                                    "a.experts.2.gate_proj.bias",
                                    "a.experts.2.up_proj.bias",
                                    "a.experts.2.down_proj.bias"));
            try (Checkpoint c = Checkpoint.ofFile(fewer.resolve("model.safetensors"))) {
                assertThat(c.info("a.experts.gate_up_proj").shape().dims())
                        .containsExactly(2, HIDDEN, 2 * CHANNELS);
            }
            Path mixed = copy(model, List.of("a.experts.1.up_proj.weight"));
            try (Checkpoint c = Checkpoint.ofFile(mixed.resolve("model.safetensors"))) {
                assertThat(c.names())
                        .contains(
                                "a.experts.0.gate_proj.weight",
                                "a.experts.0.down_proj.weight",
                                "a.experts.0.down_proj.bias")
                        .doesNotContain("a.experts.gate_up_proj", "a.experts.down_proj");
            }
        }
    }

    static Stream<Path> oracles() {
        return TestFiles.directories(TestFiles.shared("oracles/architectures"), "")
                .filter(d -> {
                    try (Checkpoint c = Checkpoint.open(d)) {
                        return !c.stacks().isEmpty();
                    }
                });
    }

    @ParameterizedTest(allowZeroInvocations = true)
    @MethodSource("oracles")
    void publishedFormsComeBack(Path model) throws IOException {
        Path out = copy(model, List.of());
        try (Checkpoint before = Checkpoint.ofFile(model.resolve("model.safetensors"));
                Checkpoint after = Checkpoint.ofFile(out.resolve("model.safetensors"));
                TensorReader a = before.reader();
                TensorReader b = after.reader()) {
            assertThat(after.names()).hasSameElementsAs(before.names());
            for (String name : before.names()) {
                assertThat(after.info(name)).isEqualTo(before.info(name));
                assertThat(a.tensor(name).bytes().mismatch(b.tensor(name).bytes()))
                        .as(name)
                        .isEqualTo(-1);
            }
        }
    }

    /// In any order, some left out.
    private Path copy(Path model, List<String> without) throws IOException {
        Path out = Files.createTempDirectory(temp, "copy");
        try (Checkpoint c = Checkpoint.open(model);
                TensorReader reader = c.reader()) {
            List<TensorInfo> plan =
                    c.names().stream().filter(n -> !without.contains(n)).map(c::info).toList();
            try (CheckpointWriter writer =
                    CheckpointWriter.create(out, plan, 1 << 30, c.stacks(), false)) {
                List<TensorInfo> order = new ArrayList<>(plan);
                Collections.shuffle(order, new Random(1));
                order.forEach(t -> writer.write(t.name(), reader.tensor(t.name())));
                writer.finish();
            }
        }
        return out;
    }
}
