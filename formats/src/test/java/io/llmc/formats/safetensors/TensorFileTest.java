// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.Fixture;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TensorFileTest {
    private static final List<TensorInfo> PLAN =
            List.of(
                    TensorInfo.of("bytes", DType.U8, 5),
                    TensorInfo.of("none", DType.F64, 0),
                    TensorInfo.of("numbers", DType.F32, 2, 3));

    @TempDir Path directory;

    private Path keep() throws IOException {
        Path file = directory.resolve("kept");
        try (TensorFileWriter out = TensorFileWriter.keep(file, Map.of("step", "7"), PLAN)) {
            out.append(MemorySegment.ofArray(new byte[] {1, 2, 3}));
            out.append(MemorySegment.ofArray(new byte[] {4, 5}));
            out.append(MemorySegment.ofArray(new float[] {1, 2, 3, 4, 5, 6}));
            assertThat(file).doesNotExist();
            out.finish();
        }
        return file;
    }

    @Test
    void whatIsKeptIsReadBack() throws IOException {
        try (TensorFile kept = TensorFile.whole(keep());
                Arena memory = Arena.ofConfined()) {
            assertThat(kept.tensors()).isEqualTo(PLAN);
            assertThat(kept.metadata()).containsEntry("step", "7");
            assertThat(kept.tensor("bytes", memory).bytes().toArray(ValueLayout.JAVA_BYTE))
                    .containsExactly(1, 2, 3, 4, 5);
            MemorySegment some = memory.allocate(8, 4);
            kept.read("numbers", 12, some);
            assertThat(some.toArray(ValueLayout.JAVA_FLOAT)).containsExactly(4, 5);
        }
    }

    @Test
    void anyByteThatDiffersOrIsMissingMakesItNoFile() throws IOException {
        byte[] whole = Files.readAllBytes(keep());
        Path file = directory.resolve("damaged");
        for (int i = 0; i < whole.length; i++) {
            byte[] flipped = whole.clone();
            flipped[i] ^= 4;
            assertThat(isWhole(Files.write(file, flipped))).as("byte %d", i).isFalse();
        }
        for (int length = 0; length < whole.length; length += 7) {
            byte[] cut = java.util.Arrays.copyOf(whole, length);
            assertThat(isWhole(Files.write(file, cut))).as("%d bytes", length).isFalse();
        }
        assertThat(isWhole(Files.write(file, whole))).isTrue();
        assertThat(isWhole(directory.resolve("absent"))).isFalse();
    }

    private static boolean isWhole(Path file) throws IOException {
        try (TensorFile kept = TensorFile.whole(file)) {
            return kept != null;
        }
    }

    @Test
    void whatIsHalfWrittenLeavesWhatWasThere() throws IOException {
        Path file = Files.writeString(directory.resolve("x"), "before");
        try (TensorFileWriter out = TensorFileWriter.create(file, PLAN)) {
            out.append(MemorySegment.ofArray(new byte[17]));
            assertThatThrownBy(out::finish).hasMessage("12 bytes are missing");
            assertThatThrownBy(() -> out.append(MemorySegment.ofArray(new byte[13])))
                    .hasMessage("13 bytes, but 12 are left");
        }
        assertThat(file).hasContent("before");
        try (Stream<Path> files = Files.list(directory)) {
            assertThat(files).containsExactly(file);
        }
    }

    /// Published files are those of [CheckpointWriter] by another name.
    @Test
    void aPublishedFileHoldsItsTensorsAlone() throws IOException {
        try (Arena memory = Arena.ofConfined()) {
            SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
            tensors.put("b", Fixture.bytes(memory, new Random(1), DType.F32, 2, 3));
            tensors.put("a", Fixture.bytes(memory, new Random(2), DType.F32, 4));
            Path file = directory.resolve("published");
            TensorFile.publish(file, tensors);
            List<TensorInfo> plan =
                    List.of(TensorInfo.of("b", DType.F32, 2, 3), TensorInfo.of("a", DType.F32, 4));
            Path other = directory.resolve("other");
            try (CheckpointWriter writer = CheckpointWriter.create(other, plan, 1 << 20, false)) {
                tensors.forEach(writer::write);
                writer.finish();
            }
            assertThat(Files.mismatch(file, other.resolve("model.safetensors"))).isEqualTo(-1);
        }
    }
}
