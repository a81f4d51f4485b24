// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.text.DecimalFormat;
import java.text.DecimalFormatSymbols;
import java.util.Locale;

/// The finite numbers that a key of config.json may have. The upper ends are limits that no real
/// model reaches: beyond them a value is a mistake, or meant to take memory.
///
/// @param open `least` itself is outside
public record Range(double least, double most, boolean open) {
    public static final Range ANY = new Range(-Double.MAX_VALUE, Double.MAX_VALUE, false);
    public static final Range WHOLE = new Range(Integer.MIN_VALUE, Integer.MAX_VALUE, false);

    /// From 1 on.
    public static Range upTo(int most) {
        return new Range(1, most, false);
    }

    /// From 0 on.
    public static Range zeroTo(int most) {
        return new Range(0, most, false);
    }

    /// Above `least`.
    public static Range above(double least, double most) {
        return new Range(least, most, true);
    }

    /// As a float, since that is what is computed with: `1e-320` is not above 0.
    boolean holds(double value) {
        return Double.isFinite(value)
                && (open ? (float) value > least : value >= least)
                && value <= most;
    }

    /// As in "expected a number" and this.
    String description() {
        if (equals(ANY)) {
            return "";
        }
        if (equals(WHOLE)) {
            return " below 2^31";
        }
        return open
                ? " above %s and at most %s".formatted(text(least), text(most))
                : " from %s to %s".formatted(text(least), text(most));
    }

    private static String text(double value) {
        String pattern = Math.abs(value) < 1e9 ? "#,##0.######" : "0E0";
        return new DecimalFormat(pattern, DecimalFormatSymbols.getInstance(Locale.ROOT))
                .format(value);
    }
}
