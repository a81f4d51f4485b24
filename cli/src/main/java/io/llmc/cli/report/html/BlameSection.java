// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.blame.Advice;
import io.llmc.evaluation.blame.BlameResult;
import io.llmc.evaluation.blame.Cost;
import io.llmc.evaluation.blame.Unit;
import io.llmc.pipeline.ByteSize;
import java.util.List;

/// What each part costs by itself in the original: bars of the dearest, and what to leave alone.
///
/// @param tables as on the terminal
record BlameSection(BlameResult result, List<Table> tables) {
    private static final int MOST_BARS = 20;

    String html() {
        Page page = new Page();
        page.text(
                "p class=\"note\"",
                "KL divergence of the original with one %s of the model in the place of its own, over %,d tokens. All together cost %s, the sum of all by themselves is %s."
                        .formatted(
                                result.by() == Unit.BLOCKS ? "block" : "layer",
                                result.tokens(),
                                Figures.error(result.kld()),
                                Figures.error(result.sum())));
        List<Cost> dearest = result.costs().stream().limit(MOST_BARS).toList();
        if (dearest.stream().anyMatch(c -> c.kld() > 0)) {
            String caption =
                    "The dearest, with their standard errors; on the right their share of the sum.";
            page.figure(caption, new Bars(caption, dearest.stream().map(this::bar).toList()).svg());
        }
        Advice advice = result.advice();
        if (!advice.patterns().isEmpty()) {
            page.text(
                    "p",
                    "Leaving these alone takes %.1f %% off the sum, for %s more:"
                            .formatted(100 * advice.share(), ByteSize.format(advice.bytes())));
            page.text("pre", "--ignore '%s'".formatted(String.join(",", advice.patterns())));
        }
        page.open("details").text("summary", "All figures");
        tables.stream().filter(table -> !table.isEmpty()).forEach(page::table);
        return page.close("details").section("Which parts cost what");
    }

    private Bars.Pair bar(Cost cost) {
        double error = Double.isNaN(cost.error()) ? 0 : cost.error();
        Bars.Bar bar =
                new Bars.Bar(
                        cost.kld(),
                        Math.max(0, cost.kld() - error),
                        cost.kld() + error,
                        Figures.error(cost.kld()));
        return new Bars.Pair(
                label(cost.name()), bar, null, "%.1f %%".formatted(100 * cost.share()));
    }

    /// Without what the names of all blocks begin with.
    private static String label(String name) {
        return name.replaceFirst("^model\\.layers\\.", "");
    }
}
