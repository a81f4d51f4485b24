// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Durations;
import io.llmc.cli.terminal.Table;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.RecipeRun.Taken;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// What steps took, beside what they were thought to take.
public record TakenReport(List<Taken> steps) {
    /// Empty where the device counts its memory itself and nobody asked for the time.
    public Table table() {
        boolean several = steps.size() > 1;
        Table table = new Table(several ? "lll" : "ll");
        for (Taken step : steps) {
            row(table, several, step, "memory", memory(step));
            row(table, several, step, "time", time(step));
        }
        return table;
    }

    private static void row(Table table, boolean several, Taken step, String what, String said) {
        if (!said.isEmpty() && several) {
            table.row(step.planned().step(), what, said);
        } else if (!said.isEmpty()) {
            table.row(what, said);
        }
    }

    private static String memory(Taken step) {
        if (step.bytes().isEmpty() || step.planned().bytes().isEmpty()) {
            return "";
        }
        return "%s planned outside the Java heap, %s taken"
                .formatted(
                        ByteSize.format(step.planned().bytes().getAsLong()),
                        ByteSize.format(step.bytes().getAsLong()));
    }

    private static String time(Taken step) {
        if (step.planned().seconds().isEmpty()) {
            return "";
        }
        return "%s planned, %s taken"
                .formatted(
                        Durations.format(step.planned().seconds().getAsDouble()),
                        Durations.format(step.seconds()));
    }

    public List<SequencedMap<String, Object>> json() {
        return steps.stream().map(TakenReport::json).toList();
    }

    private static SequencedMap<String, Object> json(Taken step) {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("step", step.planned().step());
        step.planned().bytes().ifPresent(bytes -> json.put("planned_bytes", bytes));
        step.bytes().ifPresent(bytes -> json.put("bytes", bytes));
        step.planned().seconds().ifPresent(seconds -> json.put("planned_seconds", seconds));
        json.put("seconds", step.seconds());
        return json;
    }
}
