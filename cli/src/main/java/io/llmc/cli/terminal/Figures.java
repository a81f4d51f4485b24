// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import io.llmc.pipeline.ByteSize;
import java.util.List;
import java.util.stream.Collectors;

/// Figures as people read them.
public final class Figures {
    private Figures() {}

    /// An error between 0 and 1: `0.0123`, `4.5e-07`.
    public static String error(double value) {
        return value == 0 || value >= 0.0005 ? "%.4f".formatted(value) : "%.1e".formatted(value);
    }

    /// `4.1 MiB -> 1.5 MiB, 2.7 times smaller`
    public static String sizes(long before, long after) {
        double ratio = (double) before / after;
        String change =
                ratio >= 1
                        ? "%.2f times smaller".formatted(ratio)
                        : "%.2f times larger".formatted(1 / ratio);
        return "%s -> %s, %s".formatted(ByteSize.format(before), ByteSize.format(after), change);
    }

    /// `135.2 M`, `4096`
    public static String count(long value) {
        if (value < 100_000) {
            return Long.toString(value);
        }
        return value < 1_000_000_000
                ? "%.1f M".formatted(value / 1e6)
                : "%.2f B".formatted(value / 1e9);
    }

    /// Tokens a second: `8.3`, `142`, `51.2 k`.
    public static String rate(double value) {
        if (value < 10) {
            return "%.2f".formatted(value);
        }
        return value < 10_000 ? "%.0f".formatted(value) : "%.1f k".formatted(value / 1e3);
    }

    /// What was just finished, as `model.layers.3` where a prefix of names says it.
    static String place(String detail) {
        return detail.endsWith(".") ? detail.substring(0, detail.length() - 1) : detail;
    }

    public static String names(List<?> items) {
        return items.isEmpty()
                ? "none"
                : items.stream().map(Object::toString).collect(Collectors.joining(", "));
    }
}
