// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.model.Stage.Activations;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ChunkStoreTest {
    private static final int HIDDEN = 24;

    /// Rows of each chunk; the last has fewer.
    private static final int[] ROWS = {16, 16, 5};

    @TempDir private Path dir;

    private final Backend backend =
            new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
    private final Desk desk = new Desk(backend, backend.newArena(1 << 20));
    private final Random random = new Random(4);

    @AfterEach
    void close() {
        desk.close();
        backend.close();
    }

    private Tensor random(int rows, int columns) {
        float[] values = new float[rows * columns];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return desk.floats(values).reshape(rows, columns);
    }

    /// @param place `memory`, `device` or `files`
    private ChunkStore store(String place) {
        Path directory = place.equals("files") ? dir : null;
        return ChunkStore.in(List.of(backend), directory, "test", place.equals("device"));
    }

    private List<float[]> loaded(ChunkStore store, int chunk) {
        try (Desk d = desk.fresh(1 << 16)) {
            Activations a = store.load(chunk, d.arena());
            return Stream.concat(Stream.of(a.x()), a.kept().stream()).map(backend::floats).toList();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"memory", "device", "files"})
    void whatWasSavedLastIsLoaded(String place) {
        try (ChunkStore store = store(place)) {
            for (int c = 0; c < ROWS.length; c++) {
                Tensor x = random(ROWS[c], HIDDEN);
                store.save(c, new Activations(x, List.of(random(ROWS[c], 40))));
            }
            // Wider than before, narrower, and with nothing beside it.
            Tensor x = random(16, HIDDEN);
            Tensor wide = random(16, 64);
            store.save(0, new Activations(x, List.of(wide)));
            Tensor alone = random(16, HIDDEN);
            store.save(1, Activations.of(alone));
            assertThat(loaded(store, 0)).containsExactly(backend.floats(x), backend.floats(wide));
            assertThat(loaded(store, 1)).containsExactly(backend.floats(alone));
            assertThat(loaded(store, 2).getFirst()).hasSize(5 * HIDDEN);
        }
        assertThat(dir).isEmptyDirectory();
    }

    /// The file is the same wherever chunks lie, and each place can go on from it.
    @ParameterizedTest
    @ValueSource(strings = {"memory", "device", "files"})
    void aFileOfAllChunksGivesThemBack(String place) throws IOException {
        Path file = dir.resolve("states.bin");
        Path other = dir.resolve("other.bin");
        try (ChunkStore from = store("memory");
                ChunkStore to = store(place)) {
            for (int c = 0; c < ROWS.length; c++) {
                Tensor x = random(ROWS[c], HIDDEN);
                from.save(c, new Activations(x, List.of(random(ROWS[c], 8))));
            }
            from.saveTo(file, ROWS.length);
            assertThat(to.restore(file, shapes())).isTrue();
            for (int c = 0; c < ROWS.length; c++) {
                // What lay beside the stream is not kept: a file is written between blocks.
                assertThat(loaded(to, c)).containsExactly(loaded(from, c).getFirst());
            }
            to.saveTo(other, ROWS.length);
        }
        assertThat(Files.readAllBytes(other)).isEqualTo(Files.readAllBytes(file));
    }

    private static List<Shape> shapes() {
        return Arrays.stream(ROWS).mapToObj(rows -> new Shape(rows, HIDDEN)).toList();
    }

    @Test
    void aDamagedFileChangesNothing() throws IOException {
        Path file = dir.resolve("states.bin");
        try (ChunkStore store = store("memory")) {
            for (int c = 0; c < ROWS.length; c++) {
                store.save(c, Activations.of(random(ROWS[c], HIDDEN)));
            }
            store.saveTo(file, ROWS.length);
            float[] now = backend.floats(random(16, HIDDEN));
            store.save(0, Activations.of(desk.floats(now).reshape(16, HIDDEN)));
            byte[] bytes = Files.readAllBytes(file);
            bytes[bytes.length - 1] ^= 1;
            Files.write(file, bytes);
            assertThat(store.restore(file, shapes())).isFalse();
            Files.write(file, Arrays.copyOf(bytes, bytes.length - 1));
            assertThat(store.restore(file, shapes())).isFalse();
            assertThat(store.restore(dir.resolve("none"), shapes())).isFalse();
            assertThat(loaded(store, 0)).containsExactly(now);
        }
    }
}
