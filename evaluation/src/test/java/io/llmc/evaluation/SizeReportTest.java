// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SizeReportTest {
    @TempDir Path directory;

    @Test
    void denseWeightsCountAsTheyAre() throws IOException {
        SizeReport size =
                report(
                        "{}",
                        info("model.embed_tokens.weight", DType.BF16, 10, 4),
                        info("model.norm.weight", DType.F32, 4),
                        info("model.layers.0.self_attn.rotary_emb.inv_freq", DType.F32, 2),
                        info("h.0.attn.bias", DType.U8, 1, 1, 8, 8));
        assertThat(size.parameters()).isEqualTo(44);
        assertThat(size.tensorBytes()).isEqualTo(96);
        assertThat(size.bitsPerWeight()).isEqualTo(96 * 8 / 44.0);
        assertThat(size.bytes()).isEqualTo(Files.size(directory.resolve("model.safetensors")));
    }

    @Test
    void packedLayersCountTheirWeights() throws IOException {
        SizeReport size =
                report(
                        "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\"}}",
                        info("a.weight_packed", DType.I32, 6, 3),
                        info("a.weight_scale", DType.BF16, 6, 1),
                        info("a.weight_zero_point", DType.I32, 1, 1),
                        info("a.weight_shape", DType.I64, 2));
        // The shape tensor says [6, 21], as 4-bit codes in three words a row may.
        assertThat(size.parameters()).isEqualTo(6 * 21);
        assertThat(size.tensorBytes()).isEqualTo(72 + 12 + 4 + 16);
    }

    @Test
    void gptqCodesFillTheirWords() throws IOException {
        SizeReport size =
                report(
                        "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 3}}",
                        info("a.qweight", DType.I32, 6, 8),
                        info("a.qzeros", DType.I32, 2, 1),
                        info("a.scales", DType.F16, 2, 8),
                        info("a.g_idx", DType.I32, 64),
                        info("a.bias", DType.F16, 8));
        assertThat(size.parameters()).isEqualTo(64 * 8 + 8);
    }

    @Test
    void mapsToNamesInSnakeCase() {
        assertThat(new SizeReport(100, 80, 160).toMap())
                .containsEntry("bytes", 100L)
                .containsEntry("parameters", 160L)
                .containsEntry("bits_per_weight", 4.0);
    }

    private static TensorInfo info(String name, DType dtype, long... dims) {
        return new TensorInfo(name, dtype, new Shape(dims));
    }

    private SizeReport report(String config, TensorInfo... tensors) throws IOException {
        Files.writeString(directory.resolve("config.json"), config);
        try (CheckpointWriter writer =
                        CheckpointWriter.create(directory, List.of(tensors), 1 << 20, false);
                Arena arena = Arena.ofConfined()) {
            for (TensorInfo t : tensors) {
                MemorySegment bytes = arena.allocate(t.byteSize(), 8);
                if (t.name().endsWith(".weight_shape")) {
                    bytes.set(ValueLayout.JAVA_LONG, 0, 6);
                    bytes.set(ValueLayout.JAVA_LONG, 8, 21);
                }
                writer.write(t.name(), Tensor.of(bytes, t.dtype(), t.shape().dims()));
            }
            writer.finish();
        }
        try (Checkpoint c = Checkpoint.inspect(directory)) {
            return SizeReport.of(c);
        }
    }
}
