// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.speculation.SpeculationResult;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// What a draft gained, for people.
public record SpeculationReport(SpeculationResult result) {
    public List<Table> tables() {
        Table table =
                new Table("ll")
                        .row("model", result.model())
                        .row("draft", result.spec().draft())
                        .row(
                                "texts",
                                "%d of %d as the model alone writes them, %,d tokens"
                                        .formatted(
                                                result.same(),
                                                result.pairs().size(),
                                                result.tokens()))
                        .row(
                                "acceptance by place",
                                IntStream.range(0, result.spec().drafted())
                                        .mapToObj(result::acceptance)
                                        .map(a -> a.isNaN() ? "-" : "%.2f".formatted(a))
                                        .collect(Collectors.joining("  ")))
                        .row("tokens a pass", "%.2f".formatted(result.tokensPerPass()))
                        .row(
                                "tokens a second",
                                "%.1f, alone %.1f"
                                        .formatted(
                                                result.tokensPerSecond(),
                                                result.aloneTokensPerSecond()));
        if (result.speedup() != null) {
            table.row("speed-up", LatencyReport.interval(result.speedup()));
        }
        table.row(
                "costs",
                "a drafted token %.2f, a pass %.2f of a token of the model alone"
                        .formatted(result.draftCost(), result.passCost()));
        int best = result.best();
        table.row(
                "best",
                best == 0
                        ? "no draft: by these figures it costs more than it gains"
                        : "%d drafted tokens at a time: %.2f times as fast, by these figures"
                                .formatted(best, result.predicted(best)));
        String places =
                IntStream.range(0, result.spec().drafted())
                        .mapToObj(result::acceptance)
                        .filter(a -> !a.isNaN())
                        .map("%.2f"::formatted)
                        .collect(Collectors.joining(","));
        if (!places.isEmpty()) {
            table.row(
                    "elsewhere",
                    "llmc plan %s --draft %s --acceptance %s"
                            .formatted(result.model(), result.spec().draft(), places));
        }
        return List.of(table);
    }
}
