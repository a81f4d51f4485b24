// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.UserException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/// Calls of the tokenizer library, which cannot be interrupted: whoever waits for one gives up once
/// it has taken too much processor time, and its thread does not keep the process alive. A process
/// that was stopped for a while, or waits for its turn, has not worked in that time.
final class NativeCall {
    private static final long STACK = 8L << 20;
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();
    private static final ExecutorService THREADS =
            Executors.newCachedThreadPool(run -> {
                Thread thread = new Thread(null, run, "tokenizer", STACK);
                thread.setDaemon(true);
                return thread;
            });

    private NativeCall() {}

    /// A call on a thread of its own.
    private static final class Work<T> {
        private final Supplier<T> call;
        private volatile Thread thread;
        private volatile long begun;

        Work(Supplier<T> call) {
            this.call = call;
        }

        T run() {
            begun = now(Thread.currentThread());
            thread = Thread.currentThread();
            return call.get();
        }

        /// Processor time; where the platform counts none, that of the clock on the wall.
        private static long now(Thread thread) {
            boolean counts = CLOCK.isThreadCpuTimeSupported() && CLOCK.isThreadCpuTimeEnabled();
            return counts ? CLOCK.getThreadCpuTime(thread.threadId()) : System.nanoTime();
        }

        long nanos() {
            return thread == null ? 0 : now(thread) - begun;
        }
    }

    /// @param file the tokenizer.json that is to blame for a call that does not end
    /// @throws UserException where it does not end in time
    static <T> T within(Duration limit, Path file, Supplier<T> call) {
        Work<T> work = new Work<>(call);
        Future<T> result = THREADS.submit(work::run);
        try {
            while (true) {
                long left = limit.toNanos() - work.nanos();
                if (left <= 0 && !result.isDone()) {
                    throw new UserException(
                            "%s: this tokenizer takes more than %,d s for a piece of text"
                                    .formatted(file, limit.toSeconds()),
                            "its patterns or its texts are of a kind that takes for ever");
                }
                try {
                    return result.get(Math.max(1, left), TimeUnit.NANOSECONDS);
                } catch (TimeoutException _) {
                    // looks again at how long it has worked
                }
            }
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
