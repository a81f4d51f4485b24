// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import java.util.Locale;

/// A drawing as it grows. Colours come from the page's style by class, so that they follow the
/// reader's scheme.
final class Svg {
    /// Where the text of a label begins, or ends.
    enum Anchor {
        START,
        MIDDLE,
        END
    }

    private final StringBuilder out = new StringBuilder();

    /// @param title what it shows, for who cannot see it
    Svg(double width, double height, String title) {
        out.append(
                "<svg viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">\n"
                        .formatted(n(width), n(height), Markup.escape(title)));
    }

    Svg line(String kind, double x1, double y1, double x2, double y2) {
        out.append(
                "<line class=\"%s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>\n"
                        .formatted(kind, n(x1), n(y1), n(x2), n(y2)));
        return this;
    }

    /// @param tip shown where the pointer rests; may be empty
    Svg rect(String kind, double x, double y, double width, double height, String tip) {
        return rect(kind, x, y, width, height, 1, tip);
    }

    Svg rect(
            String kind,
            double x,
            double y,
            double width,
            double height,
            double opacity,
            String tip) {
        String faint = opacity == 1 ? "" : " fill-opacity=\"%s\"".formatted(n(opacity));
        return shape(
                "rect",
                "class=\"%s\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"%s"
                        .formatted(kind, n(x), n(y), n(Math.max(width, 0)), n(height), faint),
                tip);
    }

    Svg circle(String kind, double x, double y, double radius, String tip) {
        return shape(
                "circle",
                "class=\"%s\" cx=\"%s\" cy=\"%s\" r=\"%s\"".formatted(kind, n(x), n(y), n(radius)),
                tip);
    }

    private Svg shape(String element, String attributes, String tip) {
        out.append("<%s %s".formatted(element, attributes))
                .append(
                        tip.isEmpty()
                                ? "/>\n"
                                : "><title>%s</title></%s>\n"
                                        .formatted(Markup.escape(tip), element));
        return this;
    }

    /// A line through points.
    Svg path(String kind, double[] x, double[] y) {
        StringBuilder d = new StringBuilder();
        for (int i = 0; i < x.length; i++) {
            d.append(i == 0 ? 'M' : 'L').append(n(x[i])).append(' ').append(n(y[i]));
        }
        out.append("<path class=\"%s\" d=\"%s\"/>\n".formatted(kind, d));
        return this;
    }

    Svg text(String kind, double x, double y, Anchor anchor, String text) {
        out.append(
                "<text class=\"%s\" x=\"%s\" y=\"%s\" text-anchor=\"%s\">%s</text>\n"
                        .formatted(
                                kind,
                                n(x),
                                n(y),
                                anchor.name().toLowerCase(Locale.ROOT),
                                Markup.escape(text)));
        return this;
    }

    String end() {
        return out.append("</svg>\n").toString();
    }

    /// As short as a tenth of a unit can be told.
    private static String n(double x) {
        String text = String.format(Locale.ROOT, "%.2f", x);
        return text.replaceAll("\\.?0+$", "").replaceAll("^-0$", "0");
    }
}
