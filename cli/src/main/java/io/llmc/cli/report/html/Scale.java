// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import java.util.ArrayList;
import java.util.List;

/// From figures to places of a drawing.
///
/// @param low figure at `from`
/// @param high figure at `to`
/// @param log whether equal ratios are equally far apart
record Scale(double low, double high, double from, double to, boolean log) {
    private static final double[] STEPS = {1, 2, 2.5, 5, 10};

    /// Linear, with ends that are round and hold all figures.
    static Scale linear(double least, double most, double from, double to) {
        double span = most > least ? most - least : Math.max(Math.abs(most), 1);
        double step = step(span);
        return new Scale(
                Math.floor(least / step + 1e-9) * step,
                Math.ceil((most > least ? most : least + span) / step - 1e-9) * step,
                from,
                to,
                false);
    }

    /// @param least above 0
    static Scale log(double least, double most, double from, double to) {
        double low = Math.floor(Math.log10(least) + 1e-9);
        double high = Math.ceil(Math.log10(most) - 1e-9);
        return new Scale(
                Math.pow(10, low), Math.pow(10, high > low ? high : low + 1), from, to, true);
    }

    double at(double figure) {
        double share =
                log ? Math.log(figure / low) / Math.log(high / low) : (figure - low) / (high - low);
        return from + Math.clamp(share, 0, 1) * (to - from);
    }

    /// Round figures, a handful.
    List<Double> ticks() {
        List<Double> ticks = new ArrayList<>();
        if (log) {
            int decades = (int) Math.round(Math.log10(high / low));
            int every = Math.max(1, Math.ceilDiv(decades, 6));
            for (int i = 0; i <= decades; i += every) {
                ticks.add(low * Math.pow(10, i));
            }
        } else {
            double step = step(high - low);
            for (long i = (long) Math.ceil(low / step - 1e-6); i * step <= high + step / 1e6; i++) {
                ticks.add(i * step);
            }
        }
        return ticks;
    }

    /// A round step that divides a span into five or so.
    private static double step(double span) {
        double power = Math.pow(10, Math.floor(Math.log10(span / 5)));
        for (double step : STEPS) {
            if (span / (step * power) <= 6) {
                return step * power;
            }
        }
        return 10 * power;
    }
}
