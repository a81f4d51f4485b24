// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.core.type.TypeReference;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// A journal tells what was finished, and nothing else, whatever happened to its file.
class JournalTest {
    private static final Journal.Head HEAD = new Journal.Head("command", "test");

    @TempDir private Path dir;

    private Path input;
    private Inputs inputs;

    @BeforeEach
    void write() throws IOException {
        input = Files.writeString(dir.resolve("input.txt"), "text");
        inputs = Inputs.of(List.of(new Inputs.Input("the text", input, true)));
    }

    private Journal withBlocks(int count) {
        Journal journal = Journal.begin(dir, new RunKey(HEAD, inputs));
        for (int i = 0; i < count; i++) {
            SequencedMap<String, Long> checksums =
                    new LinkedHashMap<>(Map.of("tensor" + i, 7L + i));
            journal.append(new Journal.Entry(i, checksums, List.of()));
        }
        return journal;
    }

    private Journal read() {
        return Journal.read(dir).orElseThrow();
    }

    @Test
    void readsWhatWasWritten() {
        withBlocks(2).finish(Map.of("verified", 3));
        Journal read = read();
        assertThat(read.head()).contains(HEAD);
        assertThat(read.checksums()).isEqualTo(Map.of("tensor0", 7L, "tensor1", 8L));
        assertThat(read.result(new TypeReference<Map<String, Integer>>() {}))
                .contains(Map.of("verified", 3));
    }

    @Test
    void aCutLineIsNoLineAndTheNextOneIsWrittenBehindIt() throws IOException {
        withBlocks(2);
        Path file = dir.resolve(Journal.FILE);
        byte[] bytes = Files.readAllBytes(file);
        Files.write(file, java.util.Arrays.copyOf(bytes, bytes.length - 5));
        Journal read = read();
        assertThat(read.entries()).hasSize(1);
        read.append(new Journal.Entry(1, new LinkedHashMap<>(Map.of("again", 1L)), List.of()));
        assertThat(read().checksums()).containsOnlyKeys("tensor0", "again");
    }

    @Test
    void everyFlippedBitIsFound() throws IOException {
        withBlocks(1);
        Path file = dir.resolve(Journal.FILE);
        byte[] whole = Files.readAllBytes(file);
        for (int i = 0; i < whole.length; i += 3) {
            byte[] flipped = whole.clone();
            flipped[i] ^= 4;
            Files.write(file, flipped);
            Journal read = read();
            boolean same = read.head().isPresent() && read.isSealed() && read.entries().size() == 1;
            assertThat(same).as("byte " + i).isFalse();
        }
    }

    @Test
    void forgetsBlocksThatTurnOutDamaged() {
        withBlocks(3).keep(1);
        assertThat(read().entries()).hasSize(1);
        assertThat(read().isSealed()).isTrue();
    }

    @Test
    void goesOnWithTheSameInputsAlone() throws IOException {
        withBlocks(1);
        assertThat(read().continuing(inputs).entries()).hasSize(1);
        Files.writeString(input, "other");
        Inputs changed = Inputs.of(inputs.all());
        assertThatThrownBy(() -> read().continuing(changed))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("the text");
    }

    @Test
    void withoutContentNothingIsFinished() {
        Journal.begin(dir, new RunKey(HEAD, inputs));
        assertThat(read().isSealed()).isFalse();
    }
}
