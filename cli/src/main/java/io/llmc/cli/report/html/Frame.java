// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import io.llmc.cli.report.html.Svg.Anchor;
import java.util.function.DoubleFunction;

/// Axes, their figures, and the lines behind a chart.
///
/// @param svg begun by the frame
record Frame(Svg svg, Scale x, Scale y) {
    static final double WIDTH = 720;
    static final double LEFT = 62;
    static final double RIGHT = WIDTH - 16;
    static final double TOP = 14;
    private static final double BELOW = 44;

    /// @param x from [#LEFT] to [#RIGHT]
    /// @param y from its bottom to [#TOP]
    /// @param xName what the figures below are
    /// @param yName what the figures to the left are; stands above the chart
    static Frame of(
            String title,
            Scale x,
            String xName,
            DoubleFunction<String> xText,
            Scale y,
            String yName,
            DoubleFunction<String> yText) {
        double bottom = y.from();
        Svg svg = new Svg(WIDTH, bottom + BELOW, title);
        for (double tick : y.ticks()) {
            svg.line("grid", LEFT, y.at(tick), RIGHT, y.at(tick));
            svg.text("tick", LEFT - 8, y.at(tick) + 4, Anchor.END, yText.apply(tick));
        }
        for (double tick : x.ticks()) {
            svg.line("axis", x.at(tick), bottom, x.at(tick), bottom + 5);
            svg.text("tick", x.at(tick), bottom + 19, Anchor.MIDDLE, xText.apply(tick));
        }
        svg.line("axis", LEFT, bottom, RIGHT, bottom);
        svg.text("axis-name", (LEFT + RIGHT) / 2, bottom + 38, Anchor.MIDDLE, xName);
        svg.text("axis-name", LEFT, TOP - 4, Anchor.START, yName);
        return new Frame(svg, x, y);
    }
}
