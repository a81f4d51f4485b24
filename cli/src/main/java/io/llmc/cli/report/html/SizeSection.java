// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.report.html.Svg.Anchor;
import io.llmc.evaluation.EvalResult;
import io.llmc.evaluation.EvalResult.Measured;
import io.llmc.evaluation.PerplexityRatio;
import io.llmc.pipeline.ByteSize;
import java.util.List;

/// What was given for what was saved, and both models' figures.
record SizeSection(EvalResult result) {
    private static final double BOTTOM = 230;
    private static final double MIB = 1 << 20;

    String html() {
        Page page = new Page();
        if (result.original() != null) {
            page.figure(
                    "Perplexity ratio over the size of the weight files. The original stands at 1; the bar is the 95 % interval.",
                    chart());
        }
        return page.html(table()).section("Size and quality");
    }

    private String chart() {
        PerplexityRatio ratio = result.comparison().ratio();
        double own = result.model().size().bytes() / MIB;
        double theirs = result.original().size().bytes() / MIB;
        Scale x = Scale.linear(0, 1.08 * Math.max(own, theirs), Frame.LEFT, Frame.RIGHT);
        double pad = 0.15 * Math.max(ratio.high() - Math.min(1, ratio.low()), 1e-4);
        Scale y =
                Scale.linear(
                        Math.min(1, ratio.low()) - pad,
                        Math.max(1, ratio.high()) + pad,
                        BOTTOM,
                        Frame.TOP + 8);
        Frame frame =
                Frame.of(
                        "perplexity ratio over size",
                        x,
                        "MiB of weight files",
                        Numbers::tick,
                        y,
                        "perplexity ratio",
                        v -> Double.toString(Math.round(v * 1e6) / 1e6));
        Svg svg = frame.svg();
        svg.line("one", Frame.LEFT, y.at(1), Frame.RIGHT, y.at(1));
        svg.circle("original", x.at(theirs), y.at(1), 6, "original: " + size(result.original()));
        label(svg, x.at(theirs), y.at(1) - 12, "original");
        svg.line("whisker", x.at(own), y.at(ratio.low()), x.at(own), y.at(ratio.high()));
        svg.circle(
                "model",
                x.at(own),
                y.at(ratio.value()),
                6,
                "model: %s, %.4f".formatted(size(result.model()), ratio.value()));
        svg.text("value", x.at(own) + 11, y.at(ratio.value()) + 4, Anchor.START, "model");
        return svg.end();
    }

    private static void label(Svg svg, double x, double y, String text) {
        svg.text("end", Math.min(x, Frame.RIGHT - 4), y, Anchor.END, text);
    }

    private static String size(Measured m) {
        return ByteSize.format(m.size().bytes());
    }

    private String table() {
        Measured m = result.model();
        Measured o = result.original();
        boolean compared = result.comparison() != null;
        String second = compared ? "%.4f".formatted(result.comparison().original().value()) : "";
        String error =
                compared ? "%.4f".formatted(result.comparison().original().valueError()) : "";
        return new Page()
                .table(
                        "lrr",
                        List.of("", "model", o != null ? "original" : compared ? "base" : ""),
                        List.of(
                                List.of("perplexity", "%.4f".formatted(m.perplexity()), second),
                                List.of(
                                        "its standard error",
                                        "%.4f".formatted(m.perplexityError()),
                                        error),
                                List.of("weight files", size(m), o == null ? "" : size(o)),
                                List.of(
                                        "bits a weight",
                                        "%.2f".formatted(m.size().bitsPerWeight()),
                                        o == null
                                                ? ""
                                                : "%.2f".formatted(o.size().bitsPerWeight())),
                                List.of(
                                        "parameters",
                                        "%,d".formatted(m.size().parameters()),
                                        o == null ? "" : "%,d".formatted(o.size().parameters()))))
                .toString();
    }
}
