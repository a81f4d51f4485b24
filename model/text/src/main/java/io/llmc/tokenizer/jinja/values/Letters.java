// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.Locale;
import java.util.function.IntPredicate;

/// Upper and lower case, and what kinds of characters a string has, as Python sees them.
final class Letters {
    private Letters() {}

    static Object apply(String s, String name) {
        return switch (name) {
            case "upper" -> s.toUpperCase(Locale.ROOT);
            case "lower" -> s.toLowerCase(Locale.ROOT);
            case "casefold" -> s.toUpperCase(Locale.ROOT).toLowerCase(Locale.ROOT);
            case "title" -> title(s);
            case "capitalize" -> capitalize(s);
            case "swapcase" -> swapped(s);
            case "isdecimal" -> all(s, Character::isDigit);
            case "isdigit" -> all(s, c -> Character.isDigit(c) || isSmallDigit(c));
            case "isnumeric" -> all(s, Letters::isNumeric);
            case "isalpha" -> all(s, Character::isLetter);
            case "isalnum" -> all(s, c -> Character.isLetter(c) || isNumeric(c));
            case "isspace" -> all(s, Spaces::is);
            case "isascii" -> s.chars().allMatch(c -> c < 128);
            case "isprintable" -> s.codePoints().allMatch(Text::isPrinted);
            case "isupper" -> isCased(s, true);
            case "islower" -> isCased(s, false);
            default -> throw new Refusal("strings have no method " + name);
        };
    }

    private static String swapped(String s) {
        StringBuilder out = new StringBuilder();
        for (int c : s.codePoints().toArray()) {
            String one = Character.toString(c);
            out.append(
                    Character.isUpperCase(c)
                            ? one.toLowerCase(Locale.ROOT)
                            : Character.isLowerCase(c) ? one.toUpperCase(Locale.ROOT) : one);
        }
        return out.toString();
    }

    private static boolean isNumeric(int c) {
        int type = Character.getType(c);
        return type == Character.DECIMAL_DIGIT_NUMBER
                || type == Character.LETTER_NUMBER
                || type == Character.OTHER_NUMBER;
    }

    /// Superscripts, subscripts and digits in circles.
    private static boolean isSmallDigit(int c) {
        return Character.getType(c) == Character.OTHER_NUMBER
                && Character.getNumericValue(c) >= 0
                && Character.getNumericValue(c) <= 9
                && (c < 0xbc || c > 0xbe);
    }

    /// Whether there are letters with case, and all of them have this one.
    static boolean isCased(String s, boolean upper) {
        boolean any = false;
        for (int c : s.codePoints().toArray()) {
            boolean up = Character.isUpperCase(c) || Character.isTitleCase(c);
            boolean low = Character.isLowerCase(c) || Character.isTitleCase(c);
            if (upper ? low : up) {
                return false;
            }
            any |= upper ? up : low;
        }
        return any;
    }

    static String capitalize(String s) {
        if (s.isEmpty()) {
            return s;
        }
        int first = s.offsetByCodePoints(0, 1);
        return title(s.substring(0, first)) + s.substring(first).toLowerCase(Locale.ROOT);
    }

    /// Upper case behind what is no letter, lower case elsewhere.
    static String title(String s) {
        StringBuilder out = new StringBuilder();
        boolean begins = true;
        for (int c : s.codePoints().toArray()) {
            String one = Character.toString(c);
            int title = Character.toTitleCase(c);
            out.append(
                    !begins
                            ? one.toLowerCase(Locale.ROOT)
                            : title != c
                                    ? Character.toString(title)
                                    : one.toUpperCase(Locale.ROOT).length() > one.length()
                                            ? capital(one.toUpperCase(Locale.ROOT))
                                            : one);
            begins =
                    !(Character.isUpperCase(c)
                            || Character.isLowerCase(c)
                            || Character.isTitleCase(c));
        }
        return out.toString();
    }

    /// Of letters that have no title case of their own, as `ß`.
    private static String capital(String upper) {
        int first = upper.offsetByCodePoints(0, 1);
        return upper.substring(0, first) + upper.substring(first).toLowerCase(Locale.ROOT);
    }

    private static boolean all(String s, IntPredicate test) {
        return !s.isEmpty() && s.codePoints().allMatch(test);
    }
}
