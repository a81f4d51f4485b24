// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.blame.BlameResult;
import io.llmc.evaluation.latency.LatencyResult;
import io.llmc.evaluation.speculation.SpeculationResult;
import io.llmc.evaluation.tasks.TasksResult;
import io.llmc.pipeline.RecipeRun.Result;
import io.llmc.pipeline.RecipeRun.Taken;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.sweep.SweepResult;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// What the steps of a recipe gave. Some have a report of their own; all have figures.
///
/// @param taken by each of them; empty where that is not told
public record RunReport(List<Step.Outcome> outcomes, List<Taken> taken) {
    public RunReport(Result result) {
        this(result.outcomes(), result.taken());
    }

    public RunReport(List<Step.Outcome> outcomes) {
        this(outcomes, List.of());
    }

    public String text(boolean verbose) {
        Stream<String> reports = outcomes.stream().map(outcome -> text(outcome, verbose));
        return Stream.concat(reports, Stream.of(new TakenReport(taken).table().toString()))
                .filter(text -> !text.isEmpty())
                .collect(Collectors.joining("\n"));
    }

    private static String text(Step.Outcome outcome, boolean verbose) {
        return switch (outcome) {
            case SweepResult swept -> new SweepReport(swept).text(verbose);
            case EvalResult measured -> new EvalReport(measured).text();
            case TasksResult asked -> new TasksReport(asked).text();
            case BlameResult blamed -> new BlameReport(blamed).text();
            case LatencyResult timed -> Table.text(new LatencyReport(timed).tables());
            case SpeculationResult drafted -> Table.text(new SpeculationReport(drafted).tables());
            case Step.Written written -> text(written);
            default -> table(outcome.figures()).toString();
        };
    }

    /// Of steps that measured one model.
    public List<Table> tables() {
        Stream<Table> found = outcomes.stream().flatMap(RunReport::tables);
        return Stream.concat(found, Stream.of(new TakenReport(taken).table()))
                .filter(table -> !table.isEmpty())
                .toList();
    }

    private static Stream<Table> tables(Step.Outcome outcome) {
        return switch (outcome) {
            case EvalResult measured -> new EvalReport(measured).tables().stream();
            case TasksResult asked -> new TasksReport(asked).tables().stream();
            case BlameResult blamed -> new BlameReport(blamed).tables().stream();
            case LatencyResult timed -> new LatencyReport(timed).tables().stream();
            case SpeculationResult drafted -> new SpeculationReport(drafted).tables().stream();
            default -> Stream.of(table(outcome.figures()));
        };
    }

    private static String text(Step.Written written) {
        SequencedMap<String, Object> rows = new LinkedHashMap<>();
        rows.put("step", written.step());
        rows.putAll(written.figures());
        return table(rows).toString();
    }

    private static Table table(Map<String, Object> figures) {
        Table table = new Table("ll");
        figures.forEach((key, value) ->
                table.row(
                        key.replace('_', ' '),
                        value instanceof Double d ? Figures.error(d) : value));
        return table;
    }

    /// One step's object, or `steps` with all of them.
    public SequencedMap<String, Object> json() {
        List<SequencedMap<String, Object>> steps =
                outcomes.stream().map(Step.Outcome::figures).toList();
        SequencedMap<String, Object> json =
                steps.size() == 1 ? steps.getFirst() : new LinkedHashMap<>(Map.of("steps", steps));
        json.put("taken", new TakenReport(taken).json());
        return json;
    }

    /// All figures in one object: of steps that measured one model.
    public SequencedMap<String, Object> together() {
        SequencedMap<String, Object> all = new LinkedHashMap<>();
        outcomes.forEach(outcome -> all.putAll(outcome.figures()));
        return all;
    }
}
