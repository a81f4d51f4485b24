// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.report.html.Svg.Anchor;
import java.util.List;

/// Bars in pairs: the model's and, where there is one, the original's, each with its spread.
record Bars(String title, List<Pair> pairs) {
    private static final double LABELS = 190;
    private static final double VALUES = 110;
    private static final double THICK = 13;

    /// @param original null for none
    /// @param note behind the bars; may be empty
    record Pair(String label, Bar model, Bar original, String note) {}

    /// @param low end of its spread, `value` where there is none
    record Bar(double value, double low, double high, String text) {}

    String svg() {
        boolean paired = pairs.stream().anyMatch(p -> p.original != null);
        double each = paired ? 2 * THICK + 20 : THICK + 16;
        double most =
                pairs.stream()
                        .mapToDouble(p ->
                                Math.max(p.model.high, p.original == null ? 0 : p.original.high))
                        .max()
                        .orElse(1);
        Scale x = new Scale(0, most > 0 ? most : 1, LABELS, Frame.WIDTH - VALUES, false);
        Svg svg = new Svg(Frame.WIDTH, each * pairs.size() + 4, title);
        double y = 4;
        for (Pair pair : pairs) {
            double middle = y + (paired ? THICK + 1 : THICK / 2);
            svg.text("", LABELS - 10, middle + 4, Anchor.END, pair.label);
            bar(svg, x, "model", y, pair.model);
            if (pair.original != null) {
                bar(svg, x, "original", y + THICK + 2, pair.original);
            }
            svg.text("value", Frame.WIDTH, middle + 4, Anchor.END, pair.note);
            y += each;
        }
        svg.line("axis", LABELS, 0, LABELS, y - 4);
        return svg.end();
    }

    private static void bar(Svg svg, Scale x, String kind, double y, Bar bar) {
        double end = x.at(bar.value);
        svg.rect(kind, LABELS, y, end - LABELS, THICK, bar.text);
        if (bar.high > bar.low) {
            double middle = y + THICK / 2;
            svg.line("spread", x.at(bar.low), middle, x.at(bar.high), middle);
        }
        svg.text("end", Math.max(end, x.at(bar.high)) + 6, y + THICK - 3, Anchor.START, bar.text);
    }
}
