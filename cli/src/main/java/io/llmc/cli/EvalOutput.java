// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.ResultOptions.Wanted;
import io.llmc.cli.report.JUnitReport;
import io.llmc.cli.report.MarkdownReport;
import io.llmc.cli.report.RunReport;
import io.llmc.cli.report.TakenReport;
import io.llmc.cli.report.VerdictTable;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.EvaluateStep;
import io.llmc.evaluation.gate.Verdict;
import io.llmc.formats.Json;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Supplier;

/// Where the result of a measurement goes: the terminal, files, and the exit code.
///
/// @param begun [System#nanoTime] when the command began
record EvalOutput(Console console, Path model, Wanted wanted, long begun) {
    /// Names the form of the JSON; docs/eval.schema.json describes it.
    static final String SCHEMA = "llmc/eval/1";

    /// Refuses before any work what could not be written or judged after it.
    void check(Inputs inputs, List<Step> steps) {
        wanted.files().forEach((flag, file) -> console.requireWritable(file, flag, inputs));
        if (wanted.report() != null) {
            page().provenance();
        }
        if (wanted.gates().isEmpty()) {
            return;
        }
        Set<String> names = new LinkedHashSet<>();
        for (Step step : steps) {
            Optional<Set<String>> known = step.figureNames();
            if (known.isEmpty()) {
                return; // only the work will tell
            }
            names.addAll(known.get());
        }
        wanted.gates().requireKnown(names, EvaluateStep.COMPARISON);
    }

    /// @return the exit code
    int show(RunReport report) {
        List<Table> tables = report.tables();
        SequencedMap<String, Object> figures = report.together();
        List<Verdict> verdicts = judge(report, tables, figures);
        result(report, tables, figures, verdicts);
        double seconds = (System.nanoTime() - begun) / 1e9;
        write(wanted.junit(), () -> new JUnitReport(model.toString(), verdicts, seconds).xml());
        write(wanted.markdown(), () -> new MarkdownReport(model, tables, verdicts).text());
        write(wanted.report(), () -> page().text(report.outcomes(), verdicts));
        if (verdicts.stream().allMatch(Verdict::passed)) {
            return ExitCode.OK;
        }
        console.say(VerdictTable.summary(verdicts));
        return ExitCode.MISSED;
    }

    private ReportPage page() {
        return new ReportPage(model, console.wiring().version());
    }

    /// A gate that is about nothing, which may only show now, takes no result away.
    private List<Verdict> judge(RunReport report, List<Table> tables, Map<String, ?> figures) {
        try {
            return wanted.gates().judge(figures);
        } catch (RecipeException e) {
            result(report, tables, figures, List.of());
            throw e;
        }
    }

    private void result(
            RunReport report, List<Table> tables, Map<String, ?> figures, List<Verdict> verdicts) {
        String text = Table.text(tables);
        console.result(
                verdicts.isEmpty() ? text : text + "\n" + VerdictTable.of(verdicts),
                json(report, figures, verdicts));
    }

    private static SequencedMap<String, Object> json(
            RunReport report, Map<String, ?> figures, List<Verdict> verdicts) {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("schema", SCHEMA);
        json.putAll(figures);
        json.put("taken", new TakenReport(report.taken()).json());
        if (!verdicts.isEmpty()) {
            json.put("gates", verdicts.stream().map(Verdict::toMap).toList());
            json.put("passed", verdicts.stream().allMatch(Verdict::passed));
        }
        return json;
    }

    private static void write(Path file, Supplier<String> text) {
        if (file != null) {
            try {
                Files.writeString(file, text.get());
            } catch (IOException e) {
                throw Json.unwritable(file, e);
            }
        }
    }
}
