// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigInteger;
import java.util.Locale;
import java.util.regex.Pattern;

/// Numbers in strings, as Python's `int` and `float` read them.
final class Digits {
    private static final Pattern INTEGER = Pattern.compile("[+-]?[0-9a-zA-Z]+(_[0-9a-zA-Z]+)*+");
    private static final Pattern DECIMAL =
            Pattern.compile(
                    "[+-]?([0-9]+(_[0-9]+)*+\\.?([0-9]+(_[0-9]+)*+)?|\\.[0-9]+(_[0-9]+)*+)([eE][+-]?[0-9]+(_[0-9]+)*+)?");
    private static final int LONGEST = 4300;

    private Digits() {}

    /// Null where it is none.
    static Object integer(String text, long base) {
        String s = plain(text);
        if (base != 0 && (base < 2 || base > 36)) {
            throw new Refusal("a base is 0 or from 2 to 36");
        }
        if (s.length() > LONGEST || !INTEGER.matcher(s).matches()) {
            return null;
        }
        boolean negative = s.startsWith("-");
        String digits =
                (s.startsWith("+") || negative ? s.substring(1) : s).toLowerCase(Locale.ROOT);
        int radix = (int) base;
        int prefix =
                digits.startsWith("0x")
                        ? 16
                        : digits.startsWith("0o") ? 8 : digits.startsWith("0b") ? 2 : 0;
        if (prefix != 0 && (radix == prefix || radix == 0)) {
            radix = prefix;
            digits = digits.substring(digits.startsWith("_", 2) ? 3 : 2);
        } else if (radix == 0) {
            radix = 10;
            if (digits.startsWith("0") && !digits.matches("0(_?0)*")) {
                return null;
            }
        }
        try {
            BigInteger n = new BigInteger(digits.replace("_", ""), radix);
            return Values.integer(negative ? n.negate() : n);
        } catch (NumberFormatException e) {
            return null;
        }
    }

    /// Null where it is none.
    static Double decimal(String text) {
        String s = plain(text);
        if (s.length() <= LONGEST && DECIMAL.matcher(s).matches()) {
            return Double.valueOf(s.replace("_", ""));
        }
        String word = s.toLowerCase(Locale.ROOT);
        boolean negative = word.startsWith("-");
        return switch (negative || word.startsWith("+") ? word.substring(1) : word) {
            case "nan" -> Double.NaN;
            case "inf", "infinity" ->
                    negative ? Double.NEGATIVE_INFINITY : Double.POSITIVE_INFINITY;
            default -> null;
        };
    }

    /// Without blanks around it, and with the digits of other scripts as ours.
    private static String plain(String text) {
        String s = StringMethods.strip(text, null, true, true);
        StringBuilder out = new StringBuilder();
        s.codePoints()
                .forEach(c -> {
                    if (c > 127 && Character.isDigit(c)) {
                        out.append(Character.digit(c, 10));
                    } else {
                        out.appendCodePoint(c);
                    }
                });
        return out.toString();
    }
}
