// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.terminal;

import java.lang.management.ManagementFactory;

/// Times as people read them.
public final class Durations {
    private Durations() {}

    /// `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
    public static String format(double seconds) {
        if (seconds < 9.95) {
            return "%.1f s".formatted(seconds);
        }
        long whole = Math.round(seconds);
        if (whole < 60) {
            return whole + " s";
        }
        return whole < 3600
                ? "%d min %02d s".formatted(whole / 60, whole % 60)
                : "%d h %02d min".formatted(whole / 3600, whole % 3600 / 60);
    }

    /// Seconds since the JVM began: what any command takes before its work.
    public static double sinceStart() {
        return ManagementFactory.getRuntimeMXBean().getUptime() / 1e3;
    }
}
