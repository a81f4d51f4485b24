// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.UserException;

/// ByteSize as people write them.
public final class ByteSize {
    private static final String UNITS = "KMGT";

    private static final long MIB = 1 << 20;

    private ByteSize() {}

    /// `800M`, `5G`, `123456`: powers of 1024, `B` and `iB` after the unit allowed.
    ///
    /// @throws IllegalArgumentException naming the text
    public static long parse(String text) {
        String s = text.strip().toUpperCase(java.util.Locale.ROOT).replaceAll("(IB|B)$", "");
        int unit = s.isEmpty() ? -1 : UNITS.indexOf(s.charAt(s.length() - 1));
        String number = unit < 0 ? s : s.substring(0, s.length() - 1);
        if (number.matches("[0-9]{1,19}|[0-9]{0,19}\\.[0-9]{1,19}")) {
            double bytes = Double.parseDouble(number) * Math.pow(1024, unit + 1);
            if (bytes >= 1 && bytes < Long.MAX_VALUE) {
                return (long) bytes;
            }
        }
        throw new IllegalArgumentException(
                "\"" + text + "\" is not a size; write 800M, 5G or a number of bytes");
    }

    /// The next whole MiB, so that a figure that is shown is the figure that counts.
    public static long roundUp(long bytes) {
        return Math.ceilDiv(bytes, MIB) * MIB;
    }

    /// @param least bytes that work need, in whole MiB
    /// @param otherwise what else would help; empty for nothing
    /// @throws UserException where the cap is lower, with the least that works
    public static void requireWithin(long cap, long least, String otherwise) {
        if (cap < least) {
            throw new UserException(
                    "{memory} %s is too little: the least that works here is %dM"
                            .formatted(format(cap), least / MIB),
                    "raise it" + (otherwise.isEmpty() ? "" : ", or " + otherwise));
        }
    }

    /// `1.3 GiB`, `812 B`.
    public static String format(long bytes) {
        if (bytes < 1024) {
            return bytes + " B";
        }
        double value = bytes;
        int unit = -1;
        while (value >= 1024 && unit < UNITS.length() - 1) {
            value /= 1024;
            unit++;
        }
        return "%.1f %siB".formatted(value, UNITS.charAt(unit));
    }
}
