// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.MemoryBudget;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
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

    @Test
    void threadsMayCallAtTheSameTimeAndTilesMayCallAgain() throws InterruptedException {
        try (Workers workers = new Workers(3, MemoryBudget.NONE)) {
            var sum = new AtomicLong();
            List<Thread> callers = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                callers.add(
                        Thread.ofPlatform()
                                .start(() -> {
                                    for (int round = 0; round < 500; round++) {
                                        workers.forEach(7, _ -> workers.forEach(3, sum::addAndGet));
                                    }
                                }));
            }
            for (Thread caller : callers) {
                caller.join();
            }
            assertThat(sum.get()).isEqualTo(4 * 500 * 7 * (1 + 2));
        }
    }

    @Test
    void helpersThatSleepWakeUp() throws InterruptedException {
        try (Workers workers = new Workers(2, MemoryBudget.NONE)) {
            for (int i = 0; i < 20; i++) {
                Thread.sleep(2);
                // Each of two tiles waits for the other one: none runs both.
                var both = new CyclicBarrier(2);
                workers.forEach(2, _ -> meet(both));
            }
        }
    }

    private static void meet(CyclicBarrier both) {
        try {
            both.await(10, TimeUnit.SECONDS);
        } catch (InterruptedException | BrokenBarrierException | TimeoutException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void anInterruptedCallerWaitsForItsTilesAndFindsOutLater() {
        try (Workers workers = new Workers(2, MemoryBudget.NONE)) {
            Thread.currentThread().interrupt();
            var runs = new AtomicInteger();
            workers.forEach(
                    2,
                    _ -> {
                        LockSupport.parkNanos(5_000_000);
                        runs.incrementAndGet();
                    });
            assertThat(runs.get()).isEqualTo(2);
            assertThat(Thread.interrupted()).isTrue();
        }
    }

    @Test
    void closingGivesAllMemoryBack() {
        var budget = new MemoryBudget(Long.MAX_VALUE);
        try (Workers workers = new Workers(3, budget)) {
            for (int i = 0; i < 100; i++) {
                workers.forEach(50, (_, scratch) -> scratch.bytes(0, 1 << 16).fill((byte) 1));
            }
            assertThat(budget.peak()).isBetween(1L << 16, 3L << 16);
        }
        budget.forgetPeak();
        assertThat(budget.peak()).isZero();
    }
}
