// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.sun.management.ThreadMXBean;
import io.llmc.cli.Verdict;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;

/// Runs cases, judges how they end, and keeps those that end badly.
final class Campaign {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int SHOWN_FINDINGS = 40;

    private final long seed;
    private final Path saved;
    private final PrintStream out;
    private final Watchdog watchdog;
    private final Map<String, Integer> findings = new HashMap<>();

    Campaign(long seed, Path saved, PrintStream out, Watchdog watchdog) {
        this.seed = seed;
        this.saved = saved;
        this.out = out;
        this.watchdog = watchdog;
    }

    /// What cases of one kind came to.
    ///
    /// @param accepted that were read as good input
    /// @param slowest nanoseconds of processor time
    /// @param most bytes allocated by one case
    record Tally(Kind kind, long cases, long accepted, long nanos, long slowest, long most) {
        @Override
        public String toString() {
            return "%-14s %,11d cases %5.1f %% accepted %,9d/s  slowest %,5d ms  most %,5d MiB"
                    .formatted(
                            kind.name(),
                            cases,
                            100.0 * accepted / Math.max(1, cases),
                            (long) (cases / Math.max(1e-9, nanos / 1e9)),
                            slowest / 1_000_000,
                            most >> 20);
        }
    }

    /// Runs the cases `from .. to-1` of a kind.
    Tally run(Kind kind, Kind.Reader reader, long from, long to) {
        long accepted = 0;
        long slowest = 0;
        long most = 0;
        long start = System.nanoTime();
        for (long n = from; n < to; n++) {
            Kind.Input input = reader.make(random(kind, n));
            Watchdog.Case running =
                    watchdog.begin(kind.name(), n, directory -> input.save(directory));
            long allocated = THREADS.getTotalThreadAllocatedBytes();
            Throwable thrown = null;
            try {
                reader.read(input);
                accepted++;
            } catch (Throwable t) {
                thrown = t;
            }
            long bytes = THREADS.getTotalThreadAllocatedBytes() - allocated;
            long nanos = running.end();
            slowest = Math.max(slowest, nanos);
            most = Math.max(most, bytes);
            String wrong = Verdict.of(thrown);
            if (nanos > Watchdog.LIMIT) {
                wrong = "it took %,d ms".formatted(nanos / 1_000_000);
            } else if (bytes > (long) kind.mebibytes() << 20) {
                wrong = "it allocated %,d MiB".formatted(bytes >> 20);
            }
            if (wrong != null) {
                report(kind, n, wrong, thrown, input);
            }
        }
        return new Tally(kind, to - from, accepted, System.nanoTime() - start, slowest, most);
    }

    private SplittableRandom random(Kind kind, long number) {
        long mixed = new SplittableRandom(seed * 31 + kind.name().hashCode()).nextLong();
        return new SplittableRandom(mixed + number * 0x9e3779b97f4a7c15L).split();
    }

    /// Adds what a process of its own found.
    void add(Kind kind, int more) {
        if (more > 0) {
            findings.put(kind.name() + " in a process of its own", more);
        }
    }

    /// Findings so far, each with the number of cases that show it.
    int findings() {
        return findings.size();
    }

    private void report(Kind kind, long number, String wrong, Throwable thrown, Kind.Input input) {
        String place = thrown == null ? wrong.replaceAll("[0-9,]+", "N") : place(thrown);
        if (findings.merge(kind.name() + " " + place, 1, Integer::sum) > 1
                || findings.size() > SHOWN_FINDINGS) {
            return;
        }
        Path directory = saved.resolve("%s-%d-%d".formatted(kind.name(), seed, number));
        out.printf(
                "FINDING %s: %s%n  at %s%n  again: %s%n  saved: %s%n",
                kind.name(), wrong, place, Watchdog.again(kind.name(), seed, number), directory);
        try {
            Files.createDirectories(directory);
            input.save(directory);
            if (thrown != null) {
                try (PrintStream trace =
                        new PrintStream(
                                directory.resolve("trace.txt").toFile(), StandardCharsets.UTF_8)) {
                    thrown.printStackTrace(trace);
                }
            }
        } catch (IOException e) {
            out.println("  not saved: " + e);
        }
    }

    /// The first of our methods on the stack, which tells findings apart.
    private static String place(Throwable thrown) {
        for (StackTraceElement e : thrown.getStackTrace()) {
            if (e.getClassName().startsWith("io.llmc")) {
                return thrown.getClass().getSimpleName() + " in " + e;
            }
        }
        return thrown.getClass().getSimpleName();
    }

    void counts() {
        findings.forEach((place, count) -> out.printf("%,9d x %s%n", count, place));
    }
}
