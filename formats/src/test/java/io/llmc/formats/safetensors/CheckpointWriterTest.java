// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Fixture;
import io.llmc.formats.Json;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SequencedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointWriterTest {
    @TempDir Path temporary;
    private Path directory;
    private final Arena memory = Arena.ofShared();
    private final SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();

    @BeforeEach
    void tensors() {
        directory = temporary.resolve("out");
        Random random = new Random(1);
        tensors.put("a", Fixture.bytes(memory, random, DType.BF16, 3, 5));
        tensors.put("b", Fixture.bytes(memory, random, DType.I64, 2));
        tensors.put("c", Fixture.bytes(memory, random, DType.U8, 7));
        tensors.put("d", Fixture.bytes(memory, random, DType.F32, 4, 4));
        tensors.put("empty", Fixture.bytes(memory, random, DType.F32, 0, 4));
        tensors.put("e", Fixture.bytes(memory, random, DType.I32, 1));
    }

    @AfterEach
    void free() {
        memory.close();
    }

    private List<TensorInfo> plan() {
        return tensors.entrySet().stream()
                .map(e -> new TensorInfo(e.getKey(), e.getValue().dtype(), e.getValue().shape()))
                .toList();
    }

    private void writeAll(long shardSize) throws IOException {
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), shardSize, false)) {
            tensors.reversed().forEach(w::write);
            w.finish();
        }
        Files.writeString(directory.resolve("config.json"), Fixture.CONFIG);
    }

    private void assertReadBack() {
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(c.names()).containsExactlyInAnyOrderElementsOf(tensors.keySet());
            tensors.forEach((name, t) -> {
                assertThat(r.tensor(name).like(t)).as(name).isTrue();
                assertThat(r.tensor(name).bytes().mismatch(t.bytes())).as(name).isEqualTo(-1);
                assertThat(CheckpointWriter.checksum(r.tensor(name)))
                        .isEqualTo(CheckpointWriter.checksum(t));
                assertThat(
                                r.tensor(name).bytes().byteSize() == 0
                                        || r.tensor(name).bytes().isMapped())
                        .as("%s is aligned, so it was not copied", name)
                        .isTrue();
            });
        }
    }

    private List<String> files() throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.map(f -> f.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void writesOneFileThatReadsBack() throws IOException {
        writeAll(1 << 20);
        assertThat(files()).containsExactly("config.json", "model.safetensors");
        assertReadBack();
        ByteBuffer bytes =
                ByteBuffer.wrap(Files.readAllBytes(directory.resolve("model.safetensors")))
                        .order(ByteOrder.LITTLE_ENDIAN);
        int length = (int) bytes.getLong();
        assertThat(length % 8).isZero();
        assertThat(new String(bytes.array(), 8, length, StandardCharsets.UTF_8))
                .startsWith("{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"I64\",");
    }

    @Test
    void writesTheSameBytesWhateverTheOrderOfWriting() throws IOException {
        writeAll(64);
        byte[] first = Files.readAllBytes(directory.resolve("model-00002-of-00003.safetensors"));
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 64, false)) {
            tensors.forEach(w::write);
            w.finish();
        }
        assertThat(Files.readAllBytes(directory.resolve("model-00002-of-00003.safetensors")))
                .isEqualTo(first);
    }

    @Test
    void splitsIntoShardsInTheOrderOfThePlan() throws IOException {
        assertThat(CheckpointWriter.shards(plan(), 64))
                .extracting(s -> s.stream().map(TensorInfo::name).toList())
                .containsExactly(List.of("a", "b", "c"), List.of("d", "empty"), List.of("e"));
        assertThat(CheckpointWriter.shards(plan(), 1))
                .as("a larger tensor gets its own")
                .hasSize(6)
                .allSatisfy(s -> assertThat(s).hasSize(1));
        assertThat(CheckpointWriter.shards(List.of(), 1)).containsExactly(List.of());
        writeAll(64);
        assertThat(files())
                .containsExactly(
                        "config.json",
                        "model-00001-of-00003.safetensors",
                        "model-00002-of-00003.safetensors",
                        "model-00003-of-00003.safetensors",
                        "model.safetensors.index.json");
        assertReadBack();
        ObjectNode index = Json.readObject(directory.resolve("model.safetensors.index.json"));
        assertThat(index.at("/metadata/total_size").asLong()).isEqualTo(30 + 16 + 7 + 64 + 4);
        assertThat(index.get("weight_map").size()).isEqualTo(6);
        assertThat(index.at("/weight_map/d").asText())
                .isEqualTo("model-00002-of-00003.safetensors");
    }

    @Test
    void clearsFilesOfAnotherPlanButNothingElse() throws IOException {
        writeAll(64);
        Files.writeString(directory.resolve("model.txt"), "mine");
        writeAll(1 << 20);
        assertThat(files()).containsExactly("config.json", "model.safetensors", "model.txt");
        assertReadBack();
        writeAll(64);
        assertThat(files()).doesNotContain("model.safetensors");
        assertReadBack();
    }

    @Test
    void resumesWhereTheHeadersAreTheSame() throws IOException {
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 64, false)) {
            assertThat(w.resumed()).isFalse();
            w.write("a", tensors.get("a"));
            w.write("d", tensors.get("d"));
            w.sync();
        }
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 64, true)) {
            assertThat(w.resumed()).isTrue();
            w.markWritten("a");
            w.markWritten("d");
            assertThatThrownBy(w::finish)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("'b'");
            for (String name : List.of("b", "c", "e", "empty")) {
                w.write(name, tensors.get(name));
            }
            w.finish();
        }
        Files.writeString(directory.resolve("config.json"), Fixture.CONFIG);
        assertReadBack();
    }

    @Test
    void aFileOfAnotherPlanIsNotResumed() throws IOException {
        writeAll(1 << 20);
        List<TensorInfo> other = List.of(TensorInfo.of("a", DType.F32, 2));
        try (CheckpointWriter w = CheckpointWriter.create(directory, other, 1 << 20, true)) {
            assertThat(w.resumed()).isFalse();
            assertThatThrownBy(() -> w.markWritten("a")).isInstanceOf(IllegalStateException.class);
            assertThatThrownBy(w::finish).isInstanceOf(IllegalStateException.class);
        }
        assertThat(Files.size(directory.resolve("model.safetensors"))).isLessThan(200);
    }

    @Test
    void aShortenedFileIsNotResumed() throws IOException {
        writeAll(1 << 20);
        Path file = directory.resolve("model.safetensors");
        byte[] whole = Files.readAllBytes(file);
        Files.write(file, Arrays.copyOf(whole, whole.length - 1));
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 1 << 20, true)) {
            assertThat(w.resumed()).isFalse();
        }
    }

    @Test
    void withoutResumeNothingOldIsLeft() throws IOException {
        writeAll(1 << 20);
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 1 << 20, false)) {
            assertThat(w.resumed()).isFalse();
        }
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader r = c.reader()) {
            assertThat(r.tensor("d").bytes().toArray(ValueLayout.JAVA_BYTE)).containsOnly(0);
        }
    }

    @Test
    void keepsMetadataBesideTheFormat() throws IOException {
        try (CheckpointWriter w =
                CheckpointWriter.create(directory, plan(), 64, Map.of("made_by", "llmc"), false)) {
            tensors.forEach(w::write);
            w.finish();
        }
        Files.writeString(directory.resolve("config.json"), Fixture.CONFIG);
        try (Checkpoint c = Checkpoint.open(directory)) {
            assertThat(c.metadata()).isEqualTo(Map.of("format", "pt", "made_by", "llmc"));
        }
    }

    @Test
    void refusesWhatWasNotPlanned() {
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 64, false)) {
            assertThatThrownBy(() -> w.write("x", tensors.get("a")))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("'x' is not planned");
            assertThatThrownBy(() -> w.write("a", tensors.get("d")))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContainingAll("a BF16[3, 5]", "F32[4, 4]");
            assertThatThrownBy(() -> w.write("a", tensors.get("a").reshape(5, 3)))
                    .isInstanceOf(IllegalArgumentException.class);
        }
        List<TensorInfo> twice = List.of(plan().getFirst(), plan().getFirst());
        for (long shardSize : new long[] {1, 1000}) {
            assertThatThrownBy(() ->
                            CheckpointWriter.create(directory, twice, shardSize, false).close())
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("'a'");
        }
        assertThatThrownBy(() -> CheckpointWriter.shards(plan(), 0))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void refusesMoreThanTheDiskHolds() {
        List<TensorInfo> huge = List.of(TensorInfo.of("x", DType.U8, 1L << 58));
        assertThatThrownBy(() -> CheckpointWriter.create(directory, huge, 1 << 30, false).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("bytes needed");
    }

    @Test
    void saysWhereItCannotWrite() throws IOException {
        Files.writeString(directory, "a file");
        assertThatThrownBy(() -> CheckpointWriter.create(directory, plan(), 64, false).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining(directory.toString());
    }

    @Test
    void memoryOfJavaArraysIsWrittenToo() throws IOException {
        int[] values = new int[16];
        Arrays.setAll(values, i -> i + 1);
        tensors.put("d", Tensor.of(MemorySegment.ofArray(values), DType.F32, 4, 4));
        writeAll(1 << 20);
        assertReadBack();
    }

    @Test
    void checksumIsCrc32c() {
        byte[] check = "123456789".getBytes(StandardCharsets.US_ASCII);
        Tensor t = Tensor.of(MemorySegment.ofArray(check), DType.U8, 9);
        assertThat(CheckpointWriter.checksum(t)).isEqualTo(0xE3069283L);
    }

    @Test
    void writesFromSeveralThreads() throws IOException {
        try (CheckpointWriter w = CheckpointWriter.create(directory, plan(), 64, false)) {
            tensors.entrySet().parallelStream().forEach(e -> w.write(e.getKey(), e.getValue()));
            w.finish();
        }
        Files.writeString(directory.resolve("config.json"), Fixture.CONFIG);
        assertReadBack();
    }
}
