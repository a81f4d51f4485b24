// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.RecipeRunner.Evaluated;
import io.llmc.cli.RecipeRunner.Result;
import io.llmc.cli.RecipeRunner.Swept;
import io.llmc.cli.RecipeRunner.Worked;
import io.llmc.pipeline.Work;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Collectors;

/// What the steps of a recipe gave.
record RunReport(List<Result> results) {
    String text(boolean verbose) {
        return results.stream()
                .map(result ->
                        switch (result) {
                            case Swept swept -> new SweepReport(swept).text(verbose);
                            case Evaluated(var _, var measured) -> new EvalReport(measured).text();
                            case Worked(var work, var done) -> text(work, done);
                        })
                .collect(Collectors.joining("\n"));
    }

    private static String text(Work work, Work.Result done) {
        Table table = new Table("ll").row("step", work.name()).row("output", done.output());
        done.values()
                .forEach((key, value) ->
                        table.row(
                                key.replace('_', ' '),
                                value instanceof Double d ? Figures.error(d) : value));
        return table.toString();
    }

    /// One step's object, or `steps` with all of them.
    SequencedMap<String, Object> json() {
        List<SequencedMap<String, Object>> steps = results.stream().map(RunReport::json).toList();
        return steps.size() == 1 ? steps.getFirst() : new LinkedHashMap<>(Map.of("steps", steps));
    }

    private static SequencedMap<String, Object> json(Result result) {
        return switch (result) {
            case Swept swept -> new SweepReport(swept).json();
            case Evaluated(var _, var measured) -> new EvalReport(measured).json();
            case Worked(var _, var done) -> {
                SequencedMap<String, Object> json = new LinkedHashMap<>();
                json.put("output", done.output().toString());
                json.putAll(done.values());
                yield json;
            }
        };
    }
}
