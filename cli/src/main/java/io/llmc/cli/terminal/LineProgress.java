// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import io.llmc.pipeline.Progress;
import java.io.PrintWriter;
import java.util.HashSet;
import java.util.Set;
import java.util.function.LongSupplier;

/// Progress for logs: a line at the start of a task, one every few seconds while it runs, one at
/// its end.
public final class LineProgress implements Progress {
    private static final long PAUSE = 5_000_000_000L;

    private final PrintWriter err;
    private final LongSupplier nanoTime;
    private final Set<String> notes = new HashSet<>();
    private String task = "";
    private long total;
    private long done;
    private long skipped;
    private long start;
    private long last;

    public LineProgress(PrintWriter err, LongSupplier nanoTime) {
        this.err = err;
        this.nanoTime = nanoTime;
    }

    @Override
    public synchronized void begin(String name, long units) {
        task = name;
        total = units;
        done = 0;
        skipped = 0;
        start = nanoTime.getAsLong();
        last = start;
        say(name + " ...");
    }

    @Override
    public synchronized void advance(long by, String detail) {
        done += by;
        long now = nanoTime.getAsLong();
        if (detail.isEmpty() && done == by && now - start < PAUSE) {
            skipped = done; // what an earlier run left tells nothing about speed
        }
        if (now - last < PAUSE || done >= total) {
            return;
        }
        last = now;
        String rest = done > skipped ? ", " + Durations.format(remaining(now)) + " left" : "";
        say(
                "%s %d/%d%s%s"
                        .formatted(
                                task,
                                done,
                                total,
                                rest,
                                detail.isEmpty() ? "" : ": " + Figures.place(detail)));
    }

    private double remaining(long now) {
        return (now - start) / 1e9 * (total - done) / (done - skipped);
    }

    @Override
    public synchronized void end() {
        say(
                "%s done in %s"
                        .formatted(task, Durations.format((nanoTime.getAsLong() - start) / 1e9)));
    }

    @Override
    public synchronized void note(String line) {
        if (notes.add(line)) {
            say(line);
        }
    }

    private void say(String line) {
        err.println(line);
        err.flush();
    }
}
