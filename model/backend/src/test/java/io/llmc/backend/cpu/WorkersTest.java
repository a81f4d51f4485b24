// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.MemoryBudget;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;

class WorkersTest {
    @Test
    void everyTileRunsOnce() {
        try (Workers workers = new Workers(3, MemoryBudget.NONE)) {
            for (int tiles : new int[] {0, 1, 2, 1000}) {
                var runs = new AtomicIntegerArray(tiles);
                workers.forEach(tiles, runs::incrementAndGet);
                for (int i = 0; i < tiles; i++) {
                    assertThat(runs.get(i)).isEqualTo(1);
                }
            }
        }
    }

    @Test
    void anExceptionOfATileReachesTheCaller() {
        try (Workers workers = new Workers(3, MemoryBudget.NONE)) {
            assertThatThrownBy(() ->
                            workers.forEach(
                                    100,
                                    tile -> {
                                        if (tile == 41) {
                                            throw new IllegalArgumentException("tile 41");
                                        }
                                    }))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("tile 41");
            var runs = new AtomicIntegerArray(10);
            workers.forEach(10, runs::incrementAndGet);
            assertThat(runs.get(9)).isEqualTo(1);
        }
    }
}
