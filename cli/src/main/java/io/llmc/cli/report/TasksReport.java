// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.tasks.TaskResult;
import io.llmc.evaluation.tasks.TaskResult.Change;
import io.llmc.evaluation.tasks.TaskResult.Figure;
import io.llmc.evaluation.tasks.TaskResult.Measure;
import io.llmc.evaluation.tasks.TasksResult;
import java.util.List;

/// What came of tasks, for people.
public record TasksReport(TasksResult result) {
    public String text() {
        return Table.text(tables());
    }

    public List<Table> tables() {
        return List.of(heading(), figures(), cuts());
    }

    private Table heading() {
        Table heading = new Table("ll").row("model", result.model());
        if (result.against() != null) {
            heading.row("original", result.against());
        }
        return heading;
    }

    private Table figures() {
        boolean compared = result.against() != null;
        Table table = new Table(compared ? "llrrrl" : "llrr");
        if (compared) {
            table.header("task", "metric", "items", "model", "original", "change");
        } else {
            table.header("task", "metric", "items", "model");
        }
        for (TaskResult task : result.tasks()) {
            String name = task.name();
            String items = Integer.toString(task.items());
            for (Measure m : task.measures()) {
                String label = m.metric().label();
                if (compared) {
                    table.row(
                            name,
                            label,
                            items,
                            figure(m.model()),
                            figure(m.original()),
                            change(m.change()));
                } else {
                    table.row(name, label, items, figure(m.model()));
                }
                name = "";
                items = "";
            }
        }
        return table;
    }

    private static String figure(Figure figure) {
        return Double.isNaN(figure.error())
                ? "%.4f".formatted(figure.value())
                : "%.4f +- %.4f".formatted(figure.value(), figure.error());
    }

    private static String change(Change change) {
        return switch (change) {
            case Change.Flips f ->
                    "%d lost, %d won, p %.4f (McNemar, exact)"
                            .formatted(f.lost().size(), f.won().size(), f.p());
            case Change.Ratio r when Double.isNaN(r.low()) -> "times %.4f".formatted(r.value());
            case Change.Ratio r ->
                    "times %.4f, 95 %% interval %.4f to %.4f"
                            .formatted(r.value(), r.low(), r.high());
        };
    }

    private Table cuts() {
        Table table = new Table("l");
        for (TaskResult task : result.tasks()) {
            if (task.cut() > 0) {
                table.row(
                        "%s: %,d questions lost their beginning: they are longer than what the model sees"
                                .formatted(task.name(), task.cut()));
            }
        }
        return table;
    }
}
