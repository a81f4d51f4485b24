// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendOptions.Compute;
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
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/// Models of other tools give the logits that are to be had from them: roundings of inputs and of
/// cached keys and values included.
class SchemeLogitsTest {
    private static final Path ORACLES = TestFiles.shared("oracles/formats");

    @TempDir Path temp;

    /// What llmc reads and its tool gave logits of.
    static List<Path> models() throws IOException {
        if (!Files.exists(ORACLES)) {
            return List.of(ORACLES);
        }
        try (Stream<Path> files = Files.walk(ORACLES, 3)) {
            return files.filter(f -> f.endsWith("logits.safetensors"))
                    .map(Path::getParent)
                    .filter(SchemeLogitsTest::isReadable)
                    .sorted()
                    .toList();
        }
    }

    private static boolean isReadable(Path model) {
        try (Checkpoint c = Checkpoint.inspect(model)) {
            return c.isReadable();
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void logitsOfTheLibrary(Path model) throws IOException {
        assumeTrue(Files.exists(model), "no oracles beside the checkout");
        // An input near the middle between two codes may fall to the other side.
        assertThat(difference(model, Compute.F32)).isLessThan(1e-3);
    }

    /// The library decodes weights to the type of their scales, which integers never are. With F32
    /// there is no difference. With BF16 some inputs fall to the other side and move by a whole
    /// step: the logits of this random model then differ by the noise of 8-bit inputs.
    @ParameterizedTest
    @CsvSource({
        "w8a8_int_dynamic_token_bf16, 4e-2",
        "w8a8_int_static_tensor_f32, 1e-3",
        "fp8_dynamic_channel_bf16, 1e-3"
    })
    void logitsOfIntegers(String name, double bound) throws IOException {
        Path model = ORACLES.resolve("compressed-tensors").resolve(name);
        assumeTrue(Files.exists(model), "no oracles beside the checkout");
        assertThat(difference(model, Compute.INT8)).isLessThan(bound);
    }

    /// Of the logits, relative to the library's.
    private double difference(Path model, Compute compute) throws IOException {
        Path golden = model.resolve("logits.safetensors");
        int[] ids;
        float[] expected;
        try (Checkpoint c = Checkpoint.ofFile(golden);
                TensorReader reader = c.reader()) {
            ids = reader.tensor("input_ids").bytes().toArray(ValueLayout.JAVA_INT);
            expected = reader.tensor("logits").bytes().toArray(ValueLayout.JAVA_FLOAT);
        }
        float[] got = logits(model, ids, compute);
        assertThat(got).hasSize(expected.length);
        double square = 0;
        double error = 0;
        for (int i = 0; i < expected.length; i++) {
            square += expected[i] * expected[i];
            error += Math.pow(got[i] - expected[i], 2);
        }
        return Math.sqrt(error / square);
    }

    private float[] logits(Path model, int[] ids, Compute compute) throws IOException {
        Path file = temp.resolve("ids.safetensors");
        TensorInfo info = TensorInfo.of("input_ids", DType.I32, 1, ids.length);
        try (TensorFileWriter writer = TensorFileWriter.create(file, List.of(info))) {
            writer.append(MemorySegment.ofArray(ids));
            writer.finish();
        }
        Path out = temp.resolve("logits.safetensors");
        try (CpuBackend backend =
                new CpuBackend(
                        new BackendOptions(
                                2, BackendOptions.Math.PORTABLE, Long.MAX_VALUE, compute))) {
            new LogitsDump(backend, Progress.NONE, Portions.DEFAULT).run(model, file, out);
        }
        try (Checkpoint c = Checkpoint.ofFile(out);
                TensorReader reader = c.reader()) {
            return reader.tensor("logits").bytes().toArray(ValueLayout.JAVA_FLOAT);
        }
    }
}
