// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import java.math.BigDecimal;
import java.math.MathContext;

/// Figures as charts and sentences have them.
final class Numbers {
    private Numbers() {}

    /// To three digits: `0.00312`, `1.5e-07`, `12.4`, `1040`.
    static String shortest(double x) {
        double size = Math.abs(x);
        if (size != 0 && (size < 1e-4 || size >= 1e7)) {
            return "%.2e".formatted(x).replaceAll("\\.?0+e", "e");
        }
        BigDecimal rounded = BigDecimal.valueOf(x).round(new MathContext(size >= 100 ? 4 : 3));
        return rounded.signum() == 0 ? "0" : rounded.stripTrailingZeros().toPlainString();
    }

    /// `0.31 %`
    static String percent(double share) {
        return shortest(100 * share) + " %";
    }

    /// `5`, `2.5`: of a tick.
    static String tick(double x) {
        return shortest(x);
    }

    /// `1e-06`, `0.01`, `1`: of a power of ten.
    static String power(double x) {
        return x >= 0.001 && x < 1e5 ? shortest(x) : "%.0e".formatted(x);
    }
}
