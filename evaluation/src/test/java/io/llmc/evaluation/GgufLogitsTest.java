// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.TensorFileWriter;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Models in GGUF against what transformers computes from the same weights.
class GgufLogitsTest {
    private static final Path ORACLE = TestFiles.shared("oracles/gguf");
    private static final int WINDOW = 256;

    @TempDir Path temp;

    /// The first 32 positions of the first window of the oracle's text.
    @ParameterizedTest
    @ValueSource(strings = {"F16", "Q8_0"})
    void tinyStories(String type) throws IOException {
        Path model = ORACLE.resolve("tiny/TinyStories-656K-" + type + ".gguf");
        assumeTrue(Files.exists(model), "no oracles beside the checkout");
        JsonNode ids =
                new JsonMapper().readTree(ORACLE.resolve("tiny/expected.json").toFile()).get("ids");
        int[] first = new int[WINDOW];
        for (int i = 0; i < WINDOW; i++) {
            first[i] = ids.get(i).intValue();
        }
        compare(
                logits(model, ids(first)),
                floats(ORACLE.resolve("tiny/logits.safetensors"), type + ".dequantized_f32"));
    }

    /// Checkpoints of the hub by way of llama.cpp's converter.
    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen2", "qwen3"})
    void converted(String name) {
        Path model = ORACLE.resolve("convert/" + name + ".gguf");
        Path golden =
                TestFiles.shared("oracles/architectures/" + name).resolve("golden.safetensors");
        assumeTrue(Files.exists(model) && Files.exists(golden), "no oracles beside the checkout");
        compare(logits(model, golden), floats(golden, "logits"));
    }

    private static void compare(float[] got, float[] expected) {
        assertThat(got).hasSizeGreaterThanOrEqualTo(expected.length);
        for (int i = 0; i < expected.length; i++) {
            assertThat(Math.abs(got[i] - expected[i])).as("logit %d", i).isLessThan(1e-4f);
        }
    }

    private Path ids(int... values) throws IOException {
        Path file = temp.resolve("ids.safetensors");
        TensorInfo info = TensorInfo.of("input_ids", DType.I32, 1, values.length);
        try (TensorFileWriter writer = TensorFileWriter.create(file, List.of(info))) {
            writer.append(MemorySegment.ofArray(values));
            writer.finish();
        }
        return file;
    }

    private float[] logits(Path model, Path ids) {
        Path out = temp.resolve("logits.safetensors");
        try (CpuBackend backend =
                new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE))) {
            new LogitsDump(backend, Progress.NONE, Portions.DEFAULT).run(model, ids, out);
        }
        return floats(out, "logits");
    }

    private static float[] floats(Path file, String name) {
        try (Checkpoint c = Checkpoint.ofFile(file);
                TensorReader reader = c.reader()) {
            return reader.tensor(name).bytes().toArray(ValueLayout.JAVA_FLOAT);
        }
    }
}
