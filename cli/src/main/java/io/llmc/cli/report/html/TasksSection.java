// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.evaluation.tasks.TaskResult;
import io.llmc.evaluation.tasks.TaskResult.Change;
import io.llmc.evaluation.tasks.TaskResult.Figure;
import io.llmc.evaluation.tasks.TaskResult.Measure;
import io.llmc.evaluation.tasks.TasksResult;
import java.util.ArrayList;
import java.util.List;

/// Questions with known answers.
record TasksSection(TasksResult result) {
    String html() {
        boolean compared = result.against() != null;
        List<Bars.Pair> pairs = new ArrayList<>();
        List<List<String>> rows = new ArrayList<>();
        for (TaskResult task : result.tasks()) {
            for (Measure m : task.measures()) {
                String label = task.name() + " " + m.metric().label();
                if (m.metric().isAccuracy()) {
                    pairs.add(
                            new Bars.Pair(
                                    label,
                                    bar(m.model()),
                                    m.original() == null ? null : bar(m.original()),
                                    ""));
                }
                rows.add(row(task, m, compared));
            }
        }
        Page page = new Page();
        if (!pairs.isEmpty()) {
            page.figure(
                    "Share of right answers, with its standard error.",
                    new Bars("right answers by task", pairs).svg());
            page.legend(
                    compared
                            ? new String[] {"model", "model", "original", "original"}
                            : new String[] {"model", "model"});
        }
        List<String> header =
                compared
                        ? List.of("task", "metric", "items", "model", "original", "change")
                        : List.of("task", "metric", "items", "model");
        return page.table(compared ? "llrrrl" : "llrr", header, rows).section("Tasks");
    }

    private static Bars.Bar bar(Figure f) {
        double error = Double.isNaN(f.error()) ? 0 : f.error();
        return new Bars.Bar(
                f.value(),
                f.value() - error,
                f.value() + error,
                "%.1f %%".formatted(100 * f.value()));
    }

    private static List<String> row(TaskResult task, Measure m, boolean compared) {
        List<String> row =
                new ArrayList<>(
                        List.of(
                                task.name(),
                                m.metric().label(),
                                Integer.toString(task.items()),
                                figure(m.model())));
        if (compared) {
            row.add(figure(m.original()));
            row.add(change(m.change()));
        }
        return row;
    }

    private static String figure(Figure f) {
        return Double.isNaN(f.error())
                ? "%.4f".formatted(f.value())
                : "%.4f ± %.4f".formatted(f.value(), f.error());
    }

    private static String change(Change change) {
        return switch (change) {
            case Change.Flips f ->
                    "%d lost, %d won; McNemar p %.3f"
                            .formatted(f.lost().size(), f.won().size(), f.p());
            case Change.Ratio r when Double.isNaN(r.low()) -> "times %.4f".formatted(r.value());
            case Change.Ratio r ->
                    "times %.4f, %.4f to %.4f".formatted(r.value(), r.low(), r.high());
        };
    }
}
