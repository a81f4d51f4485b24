// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;

/// Ends the process where a case does not end, and says which.
///
/// Time is the processor's: on a busy machine a case may wait long without being at fault.
final class Watchdog {
    /// Nanoseconds that a case may compute.
    static final long LIMIT = 5_000_000_000L;

    /// Nanoseconds without an end, computing or not.
    private static final long STUCK = 120_000_000_000L;

    private static final com.sun.management.OperatingSystemMXBean SYSTEM =
            (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    /// The exit code then.
    static final int GAVE_UP = 3;

    @FunctionalInterface
    interface Saving {
        void save(Path directory) throws IOException;
    }

    /// A case that runs.
    static final class Case {
        private final String kind;
        private final long number;
        private final Saving saving;
        private final long started = System.nanoTime();
        private volatile boolean ended;

        /// Of the processor when the watchdog first saw this case.
        private volatile long seen = -1;

        private Case(String kind, long number, Saving saving) {
            this.kind = kind;
            this.number = number;
            this.saving = saving;
        }

        /// @return nanoseconds since it began, as far as the watchdog saw the processor compute
        long end() {
            ended = true;
            long wall = System.nanoTime() - started;
            return wall < LIMIT / 2 || seen < 0
                    ? wall
                    : Math.min(wall, SYSTEM.getProcessCpuTime() - seen);
        }
    }

    private final long seed;
    private final Path saved;
    private final PrintStream out;
    private final MappedByteBuffer marker;
    private volatile Case running;

    /// @param marker where the number of each case stands while it runs
    Watchdog(long seed, Path saved, PrintStream out, Path marker) throws IOException {
        this.seed = seed;
        try (FileChannel channel =
                FileChannel.open(
                        marker,
                        StandardOpenOption.READ,
                        StandardOpenOption.WRITE,
                        StandardOpenOption.CREATE)) {
            this.marker = channel.map(FileChannel.MapMode.READ_WRITE, 0, Long.BYTES);
        }
        this.saved = saved;
        this.out = out;
        Thread.ofPlatform().daemon().name("watchdog").start(this::watch);
    }

    Case begin(String kind, long number, Saving saving) {
        Case next = new Case(kind, number, saving);
        running = next;
        marker.putLong(0, number);
        return next;
    }

    private void watch() {
        try {
            while (true) {
                Thread.sleep(200);
                Case current = running;
                if (current == null || current.ended) {
                    continue;
                }
                long cpu = SYSTEM.getProcessCpuTime();
                if (current.seen < 0) {
                    current.seen = cpu;
                }
                if (cpu - current.seen > 4 * LIMIT || System.nanoTime() - current.started > STUCK) {
                    giveUp(current);
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void giveUp(Case current) {
        Path directory = saved.resolve("%s-%d-%d".formatted(current.kind, seed, current.number));
        out.printf(
                "FINDING %s: it does not end%n  again: %s%n  saved: %s%n",
                current.kind, again(current.kind, seed, current.number), directory);
        for (Map.Entry<Thread, StackTraceElement[]> thread :
                Thread.getAllStackTraces().entrySet()) {
            if (thread.getKey().getState() == Thread.State.RUNNABLE
                    && thread.getValue().length > 0) {
                out.println("  " + thread.getKey().getName());
                for (StackTraceElement frame : thread.getValue()) {
                    out.println("    " + frame);
                }
            }
        }
        try {
            Files.createDirectories(directory);
            current.saving.save(directory);
        } catch (IOException e) {
            out.println("  not saved: " + e);
        }
        out.flush();
        Runtime.getRuntime().halt(GAVE_UP);
    }

    /// The command that runs one case.
    static String again(String kind, long seed, long number) {
        return ".ci/fuzz --kind %s --seed %d --case %d".formatted(kind, seed, number);
    }
}
