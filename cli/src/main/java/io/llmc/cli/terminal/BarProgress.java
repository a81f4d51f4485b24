// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import io.llmc.pipeline.Progress;
import java.io.PrintWriter;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.HashSet;
import java.util.Set;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarConsumer;
import me.tongfei.progressbar.ProgressBarStyle;

/// Progress on a terminal: one bar, which leaves no trace when its task has ended.
public final class BarProgress implements Progress {
    private static final String CLEAR = "\r\u001b[K";

    private final PrintWriter err;
    private final int columns;
    private final Set<String> notes = new HashSet<>();
    private ProgressBar bar;

    public BarProgress(PrintWriter err, int columns) {
        this.err = err;
        this.columns = columns;
    }

    @Override
    public synchronized void begin(String task, long total) {
        end();
        bar =
                new ProgressBarBuilder()
                        .setTaskName(task)
                        .setInitialMax(total)
                        .setStyle(ProgressBarStyle.UNICODE_BLOCK)
                        .setUpdateIntervalMillis(250)
                        .setEtaFunction(BarProgress::remaining)
                        .setConsumer(new Line())
                        .build();
    }

    private static java.util.Optional<Duration> remaining(
            me.tongfei.progressbar.ProgressState state) {
        long done = state.getCurrent() - state.getStart();
        return done <= 0
                ? java.util.Optional.empty()
                : java.util.Optional.of(
                        state.getElapsedAfterStart()
                                .multipliedBy(state.getMax() - state.getCurrent())
                                .dividedBy(done)
                                .truncatedTo(ChronoUnit.SECONDS));
    }

    @Override
    public synchronized void advance(long by, String detail) {
        bar.stepBy(by);
        bar.setExtraMessage(" " + Figures.place(detail));
    }

    @Override
    public synchronized void end() {
        if (bar != null) {
            bar.close();
            bar = null;
        }
    }

    @Override
    public void note(String line) {
        synchronized (err) {
            if (!notes.add(line)) {
                return;
            }
            err.print(CLEAR);
            err.println(line);
            err.flush();
        }
    }

    /// Redraws one line in place; the bar's own thread calls it.
    private final class Line implements ProgressBarConsumer {
        @Override
        public int getMaxRenderedLength() {
            return columns - 1;
        }

        @Override
        public void accept(String rendered) {
            synchronized (err) {
                err.print("\r" + rendered);
                err.flush();
            }
        }

        @Override
        public void clear() {
            accept("\u001b[K");
        }

        @Override
        public void close() {
            clear();
        }
    }
}
