// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.FormatException;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class LogitsDumpTest {
    @TempDir Path temp;

    /// The repository's tiny checkpoints, and those of ../shared where it is there.
    static Stream<Path> checkpoints() {
        return Stream.concat(
                        TestFiles.directories(TestFiles.testdata(), "tiny-"),
                        TestFiles.directories(TestFiles.shared("oracles/architectures"), ""))
                .filter(LogitsDumpTest::isKnown);
    }

    private static boolean isKnown(Path directory) {
        try (Checkpoint c = Checkpoint.open(directory)) {
            return Architectures.ALL.stream()
                    .anyMatch(a -> a.modelTypes().contains(c.config().modelType()));
        }
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void writesTheLogitsThatTransformersComputes(Path directory) throws IOException {
        Path golden = directory.resolve("golden.safetensors");
        Path out = temp.resolve("logits.safetensors");
        // Batches and pieces that do not divide the windows.
        dump(directory, golden, out, new Portions(1, 24, 1, 7));
        assertThat(list(temp)).containsExactly(out);
        float[] got = floats(out);
        float[] want = floats(golden);
        assertThat(got).hasSameSizeAs(want);
        for (int i = 0; i < got.length; i++) {
            assertThat(Math.abs(got[i] - want[i])).as("logit %d", i).isLessThan(1e-4f);
        }
    }

    @Test
    void portionsChangeNothing() throws IOException {
        Path model = TestFiles.testdata().resolve("tiny-llama");
        Path golden = model.resolve("golden.safetensors");
        Path one = temp.resolve("1");
        Path other = temp.resolve("2");
        dump(model, golden, one, Portions.DEFAULT);
        dump(model, golden, other, new Portions(1, 1, 1, 5));
        assertThat(Files.mismatch(one, other)).isEqualTo(-1);
    }

    @Test
    void refusesIdsThatAreNone() throws IOException {
        Path model = TestFiles.testdata().resolve("tiny-llama");
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> dump(model, ids("I32", "[1,2]", 8, 3, 256), out))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("token id 256 at position 1");
        assertThatThrownBy(() -> dump(model, ids("F32", "[1,2]", 8, 0, 0), out))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("'input_ids' is of type F32, expected I64 or I32");
        assertThatThrownBy(() -> dump(model, ids("I32", "[2]", 8, 0, 0), out))
                .hasMessageContaining("expected [batch, tokens]");
        assertThatThrownBy(() -> dump(model, ids("I64", "[1,1]", 8, 0, 1), out))
                .hasMessageContaining("holds 4294967296, which is no token id");
        assertThatThrownBy(() -> dump(model, ids("I32", "[1,3]", 8, 0, 0), out))
                .hasMessageContaining("takes 12 bytes, but its data offsets span 8");
        assertThatThrownBy(() -> dump(model, ids("I32", "[1,2]", 80, 0, 0), out))
                .hasMessageContaining("is cut short or broken");
        assertThatThrownBy(() -> dump(model, ids("I32", "[-1,2]", 8, 0, 0), out))
                .hasMessageContaining("expected whole numbers from 0");
        assertThatThrownBy(() -> dump(model, ids("I32", "[0,2]", 0), out))
                .hasMessageContaining("expected [batch, tokens] of up to");
        assertThatThrownBy(() -> dump(model, model.resolve("model.safetensors"), out))
                .hasMessageContaining("has no tensor 'input_ids'");
        assertThatThrownBy(() -> dump(model, model.resolve("config.json"), out))
                .isInstanceOf(FormatException.class);
        assertThatThrownBy(() -> dump(model, temp.resolve("none"), out))
                .isInstanceOf(UserException.class);
        assertThat(out).doesNotExist();
    }

    @Test
    void saysThatItCannotWrite() throws IOException {
        Path model = TestFiles.testdata().resolve("tiny-llama");
        Path ids = ids("I32", "[1,2]", 8, 0, 0);
        assertThatThrownBy(() -> dump(model, ids, temp.resolve("no/x")))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("cannot write");
    }

    private void dump(Path model, Path ids, Path out) {
        dump(model, ids, out, Portions.DEFAULT);
    }

    private static void dump(Path model, Path ids, Path out, Portions portions) {
        try (CpuBackend backend =
                new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE))) {
            new LogitsDump(backend, Progress.NONE, portions).run(model, ids, out);
        }
    }

    private Path ids(String dtype, String shape, int end, int... values) throws IOException {
        byte[] json =
                "{\"input_ids\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[0,%d]}}"
                        .formatted(dtype, shape, end)
                        .getBytes(StandardCharsets.UTF_8);
        ByteBuffer bytes =
                ByteBuffer.allocate(8 + json.length + 4 * values.length)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(json.length)
                        .put(json);
        for (int v : values) {
            bytes.putInt(v);
        }
        return Files.write(temp.resolve("ids.safetensors"), bytes.array());
    }

    private static float[] floats(Path file) {
        try (Checkpoint c = Checkpoint.ofFile(file);
                TensorReader reader = c.reader()) {
            assertThat(c.info("logits").dtype()).isEqualTo(DType.F32);
            return reader.tensor("logits").bytes().toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    private static List<Path> list(Path directory) throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.toList();
        }
    }
}
