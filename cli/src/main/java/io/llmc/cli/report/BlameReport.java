// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.blame.Advice;
import io.llmc.evaluation.blame.BlameResult;
import io.llmc.evaluation.blame.Cost;
import io.llmc.evaluation.blame.Unit;
import io.llmc.pipeline.ByteSize;
import java.util.List;

/// Which parts of a compressed model cost what, for people: the highest first, each with a bar.
public record BlameReport(BlameResult result) {
    private static final int MOST_ROWS = 20;
    private static final int BAR = 24;

    public String text() {
        return Table.text(tables());
    }

    public List<Table> tables() {
        return List.of(heading(), costs(), advice());
    }

    private String unit() {
        return result.by() == Unit.BLOCKS ? "block" : "layer";
    }

    private Table heading() {
        return new Table("ll")
                .row("blame", "each %s by itself in the original".formatted(unit()))
                .row(
                        "tokens",
                        "%d scored in %d windows".formatted(result.tokens(), result.windows()))
                .row("KL divergence, all together", figure(result.kld(), result.error()))
                .row("  sum of all by themselves", Figures.error(result.sum()));
    }

    private static String figure(double value, double error) {
        return Double.isNaN(error)
                ? Figures.error(value)
                : "%s +- %s".formatted(Figures.error(value), Figures.error(error));
    }

    private Table costs() {
        List<Cost> all = result.costs();
        Table table = new Table("lrrrl").header(unit(), "KL divergence", "share", "saves", "");
        int shown = all.size() > MOST_ROWS + 1 ? MOST_ROWS : all.size();
        double most = all.getFirst().kld();
        for (Cost cost : all.subList(0, shown)) {
            table.row(
                    cost.name(),
                    figure(cost.kld(), cost.error()),
                    percent(cost.share()),
                    ByteSize.format(cost.saved()),
                    "#".repeat(most > 0 ? (int) Math.round(BAR * cost.kld() / most) : 0));
        }
        if (shown < all.size()) {
            List<Cost> rest = all.subList(shown, all.size());
            table.row(
                    "%d more (--json has all)".formatted(rest.size()),
                    Figures.error(rest.stream().mapToDouble(Cost::kld).sum()),
                    percent(rest.stream().mapToDouble(Cost::share).sum()),
                    ByteSize.format(rest.stream().mapToLong(Cost::saved).sum()),
                    "");
        }
        return table;
    }

    private static String percent(double share) {
        return "%.1f %%".formatted(100 * share);
    }

    private Table advice() {
        Advice advice = result.advice();
        if (advice.patterns().isEmpty()) {
            return new Table("l").row("no %s stands out".formatted(unit()));
        }
        return new Table("ll")
                .row("leave alone", "--ignore '%s'".formatted(String.join(",", advice.patterns())))
                .row(
                        "",
                        "%s of the sum, for %s more"
                                .formatted(
                                        percent(advice.share()), ByteSize.format(advice.bytes())));
    }
}
