// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.IsoFields;
import java.util.Locale;

/// Python's `strftime` of a time without a zone, in English.
public final class Dates {
    private Dates() {}

    public static String format(String format, LocalDateTime time) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%' || i + 1 == format.length()) {
                out.append(c);
                continue;
            }
            char code = format.charAt(++i);
            boolean bare = code == '-' && i + 1 < format.length();
            String field = field(bare ? format.charAt(++i) : code, time);
            // `%-d` is glibc's way to leave out what a field is padded with.
            out.append(bare ? field.replaceFirst("^[0 ]+(?=.)", "") : field);
        }
        return out.toString();
    }

    private static String field(char code, LocalDateTime time) {
        return switch (code) {
            case 'a' -> of("EEE", time);
            case 'A' -> of("EEEE", time);
            case 'b', 'h' -> of("MMM", time);
            case 'B' -> of("MMMM", time);
            case 'c' -> format("%a %b %e %H:%M:%S %Y", time);
            case 'C' -> "%02d".formatted(time.getYear() / 100);
            case 'd' -> of("dd", time);
            case 'D', 'x' -> of("MM/dd/yy", time);
            case 'e' -> "%2d".formatted(time.getDayOfMonth());
            case 'f' -> of("SSSSSS", time);
            case 'F' -> of("yyyy-MM-dd", time);
            case 'G' -> String.valueOf(time.get(IsoFields.WEEK_BASED_YEAR));
            case 'H' -> of("HH", time);
            case 'I' -> of("hh", time);
            case 'j' -> of("DDD", time);
            case 'k' -> "%2d".formatted(time.getHour());
            case 'l' -> "%2d".formatted((time.getHour() + 11) % 12 + 1);
            case 'm' -> of("MM", time);
            case 'M' -> of("mm", time);
            case 'n' -> "\n";
            case 'p' -> of("a", time);
            case 'P' -> of("a", time).toLowerCase(Locale.ROOT);
            case 'r' -> format("%I:%M:%S %p", time);
            case 'R' -> of("HH:mm", time);
            case 'S' -> of("ss", time);
            case 't' -> "\t";
            case 'T', 'X' -> of("HH:mm:ss", time);
            case 'u' -> String.valueOf(time.getDayOfWeek().getValue());
            case 'U' -> week(time.getDayOfWeek().getValue() % 7, time);
            case 'V' -> "%02d".formatted(time.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR));
            case 'w' -> String.valueOf(time.getDayOfWeek().getValue() % 7);
            case 'W' -> week(time.getDayOfWeek().getValue() - 1, time);
            case 'y' -> of("yy", time);
            case 'Y' -> of("yyyy", time);
            case 'z', 'Z' -> "";
            case '%' -> "%";
            default -> throw new Refusal("strftime_now has no %" + code + " here");
        };
    }

    /// Of the year, before whose first such day all days are in week 0.
    private static String week(int days, LocalDateTime time) {
        return "%02d".formatted((time.getDayOfYear() + 6 - days) / 7);
    }

    private static String of(String pattern, LocalDateTime time) {
        return time.format(DateTimeFormatter.ofPattern(pattern, Locale.US));
    }
}
