// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.Convention;
import io.llmc.evaluation.Drift;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.EvalResult.Comparison;
import io.llmc.evaluation.EvalResult.Measured;
import io.llmc.evaluation.EvalSpec;
import io.llmc.pipeline.ByteSize;
import java.util.ArrayList;
import java.util.List;
import java.util.SequencedMap;
import java.util.function.Function;

/// What an evaluation found, for people and for programs.
public record EvalReport(EvalResult result) {
    public String text() {
        String text = heading() + "\n" + figures();
        return result.comparison() == null ? text : text + "\n" + comparison(result.comparison());
    }

    private Table heading() {
        EvalSpec spec = result.spec();
        Table table = new Table("ll").row("model", spec.model());
        if (spec.against() != null) {
            table.row("original", spec.against());
        }
        String stride = spec.convention() == Convention.SLIDING ? ", every " + spec.stride() : "";
        return table.row("text", spec.data())
                .row(
                        "tokens",
                        "%d scored in %d windows of %d%s"
                                .formatted(
                                        result.tokens(), result.windows(), spec.window(), stride));
    }

    private Table figures() {
        Table table = new Table("lrr");
        if (result.original() != null) {
            table.row("", "model", "original");
        }
        row(
                table,
                "perplexity (%s)".formatted(convention()),
                m -> "%.4f".formatted(m.perplexity()));
        row(table, "  standard error", m -> "%.4f".formatted(m.perplexityError()));
        row(table, "weight files", m -> ByteSize.format(m.size().bytes()));
        row(table, "parameters", m -> Figures.count(m.size().parameters()));
        row(table, "bits a weight", m -> "%.2f".formatted(m.size().bitsPerWeight()));
        row(table, "tokens a second", m -> "%.0f".formatted(m.tokensPerSecond()));
        return table;
    }

    private String convention() {
        return result.spec().convention().label();
    }

    private void row(Table table, String name, Function<Measured, String> figure) {
        List<String> cells = new ArrayList<>(List.of(name, figure.apply(result.model())));
        if (result.original() != null) {
            cells.add(figure.apply(result.original()));
        }
        table.row(cells.toArray());
    }

    private Table comparison(Comparison c) {
        Drift drift = c.drift();
        return new Table("ll")
                .row(
                        "perplexity ratio (%s)".formatted(convention()),
                        "%.4f, 95 %% interval %.4f to %.4f"
                                .formatted(c.ratio(), c.ratioLow(), c.ratioHigh()))
                .row(
                        "KL divergence",
                        "mean %s, median %s, 99 %% %s, maximum %s nats a token"
                                .formatted(
                                        Figures.error(drift.mean()),
                                        Figures.error(drift.median()),
                                        Figures.error(drift.p99()),
                                        Figures.error(drift.max())))
                .row("same top token", "%.2f %% of tokens".formatted(100 * drift.top1()));
    }

    public SequencedMap<String, Object> json() {
        return result.figures();
    }
}
