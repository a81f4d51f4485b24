// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.UserException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;

class NativeCallTest {
    private static final Path FILE = Path.of("tokenizer.json");

    @Test
    void givesUpOnWhatWorksTooLong() {
        AtomicBoolean stopped = new AtomicBoolean();
        assertThatThrownBy(() ->
                        NativeCall.within(
                                Duration.ofMillis(50),
                                FILE,
                                () -> {
                                    while (!stopped.get()) {
                                        Thread.onSpinWait();
                                    }
                                    return 1;
                                }))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("tokenizer.json: this tokenizer takes more than");
        stopped.set(true);
    }

    /// As long as a process that was stopped and went on.
    @Test
    void waitsForWhatDoesNotWork() {
        int result =
                NativeCall.within(
                        Duration.ofMillis(100),
                        FILE,
                        () -> {
                            long end = System.nanoTime() + 400_000_000L;
                            while (System.nanoTime() < end) {
                                LockSupport.parkNanos(end - System.nanoTime());
                            }
                            return 1;
                        });
        assertThat(result).isEqualTo(1);
    }

    @Test
    void throwsWhatTheCallThrows() {
        assertThatThrownBy(() ->
                        NativeCall.within(
                                Duration.ofSeconds(1),
                                FILE,
                                () -> {
                                    throw new IllegalArgumentException("no");
                                }))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("no");
    }
}
