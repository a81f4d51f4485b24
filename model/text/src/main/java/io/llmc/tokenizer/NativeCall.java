// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.UserException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/// Calls of the tokenizer library, which cannot be interrupted: whoever waits for one gives up
/// after a time, and its thread does not keep the process alive.
final class NativeCall {
    private static final long STACK = 8L << 20;
    private static final ExecutorService THREADS =
            Executors.newCachedThreadPool(run -> {
                Thread thread = new Thread(null, run, "tokenizer", STACK);
                thread.setDaemon(true);
                return thread;
            });

    private NativeCall() {}

    /// @param file the tokenizer.json that is to blame for a call that does not end
    /// @throws UserException where it does not end in time
    static <T> T within(Duration limit, Path file, Supplier<T> call) {
        Future<T> result = THREADS.submit(call::get);
        try {
            return result.get(limit.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            throw new UserException(
                    "%s: this tokenizer takes more than %,d s for a piece of text"
                            .formatted(file, limit.toSeconds()),
                    "its patterns or its texts are of a kind that takes for ever");
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }
}
