// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.Convention;
import io.llmc.evaluation.Distribution;
import io.llmc.evaluation.Drift;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.EvalResult.Comparison;
import io.llmc.evaluation.EvalResult.Measured;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.PerplexityRatio;
import io.llmc.pipeline.ByteSize;
import java.util.List;
import java.util.SequencedMap;
import java.util.function.Function;

/// What an evaluation found, for people and for programs.
public record EvalReport(EvalResult result) {
    public String text() {
        return Table.text(tables());
    }

    public List<Table> tables() {
        Comparison c = result.comparison();
        return c == null
                ? List.of(heading(), figures())
                : List.of(heading(), figures(), ratio(c), distributions(c.drift()));
    }

    private Table heading() {
        EvalSpec spec = result.spec();
        Table table = new Table("ll").row("model", spec.model());
        if (spec.against() != null) {
            table.row("original", spec.against());
        }
        if (spec.kldBase() != null) {
            table.row("KLD base", spec.kldBase());
        }
        String stride = spec.convention() == Convention.SLIDING ? ", every " + spec.stride() : "";
        if (spec.data() != null) {
            table.row("text", spec.data());
        }
        return table.row(
                "tokens",
                "%d scored in %d windows of %d%s"
                        .formatted(result.tokens(), result.windows(), spec.window(), stride));
    }

    private Table figures() {
        Comparison c = result.comparison();
        Measured m = result.model();
        Measured o = result.original();
        Table table = new Table("lrr");
        if (c != null) {
            table.header("", "model", o == null ? "base" : "original");
        }
        row(
                table,
                "perplexity (%s)".formatted(convention()),
                "%.4f".formatted(m.perplexity()),
                c == null ? null : "%.4f".formatted(c.original().value()));
        row(
                table,
                "  standard error",
                "%.4f".formatted(m.perplexityError()),
                c == null ? null : "%.4f".formatted(c.original().valueError()));
        row(table, "weight files", m, o, x -> ByteSize.format(x.size().bytes()));
        row(table, "parameters", m, o, x -> Figures.count(x.size().parameters()));
        row(table, "bits a weight", m, o, x -> "%.2f".formatted(x.size().bitsPerWeight()));
        row(table, "tokens a second", m, o, x -> "%.0f".formatted(x.tokensPerSecond()));
        return table;
    }

    private String convention() {
        return result.spec().convention().label();
    }

    private static void row(
            Table table, String name, Measured m, Measured o, Function<Measured, String> figure) {
        row(table, name, figure.apply(m), o == null ? null : figure.apply(o));
    }

    /// @param theirs null for none
    private static void row(Table table, String name, String ours, String theirs) {
        if (theirs == null) {
            table.row(name, ours);
        } else {
            table.row(name, ours, theirs);
        }
    }

    private Table ratio(Comparison c) {
        PerplexityRatio ratio = c.ratio();
        Drift drift = c.drift();
        return new Table("ll")
                .row(
                        "perplexity ratio (%s)".formatted(convention()),
                        "%.4f +- %.4f, 95 %% interval %.4f to %.4f"
                                .formatted(ratio.value(), ratio.error(), ratio.low(), ratio.high()))
                .row("  its logarithm", "%.4f +- %.4f".formatted(ratio.log(), ratio.logError()))
                .row(
                        "  difference",
                        "%.4f +- %.4f".formatted(ratio.difference(), ratio.differenceError()))
                .row("correlation of losses", "%.2f %%".formatted(100 * ratio.correlation()))
                .row(
                        "same top token",
                        "%.2f %% of tokens +- %.2f"
                                .formatted(100 * drift.top1(), 100 * drift.top1Error()));
    }

    /// In the order of llama.cpp: the worst tokens first.
    private static Table distributions(Drift drift) {
        Distribution kld = drift.divergence();
        Distribution change = drift.change();
        Table table = new Table("lrr").header("of all tokens", "KL divergence", "delta p");
        table.row("mean", Figures.error(kld.mean()), percent(change.mean()));
        table.row("  standard error", Figures.error(kld.error()), percent(change.error()));
        table.row("root mean square", "", percent(drift.rms()));
        table.row("  standard error", "", percent(drift.rmsError()));
        table.row("maximum", Figures.error(kld.max()), percent(change.max()));
        for (double p : Drift.CHANGE_PERCENTS) {
            table.row(
                    p == 50 ? "median" : "%.1f %%".formatted(p),
                    Drift.DIVERGENCE_PERCENTS.contains(p)
                            ? Figures.error(kld.quantile(p / 100))
                            : "",
                    percent(change.quantile(p / 100)));
        }
        return table.row("minimum", Figures.error(kld.min()), percent(change.min()));
    }

    private static String percent(double share) {
        return "%.3f %%".formatted(100 * share);
    }

    public SequencedMap<String, Object> json() {
        return result.figures();
    }
}
