// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.List;
import java.util.Map;

/// `"%s" % values` and `"{}".format(values)`: the usual conversions; rarer ones are refused.
record Formatting(Budget budget) {
    private static final int WIDEST = 1 << 16;

    /// @param given a tuple or a mapping of values, or one value
    String percent(String format, Object given) {
        List<Object> values = given instanceof Values.Tuple t ? t.items() : List.of(cell(given));
        int used = 0;
        StringBuilder out = new StringBuilder();
        boolean byName = false;
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%') {
                out.append(c);
                continue;
            }
            Object value = null;
            boolean named = false;
            i++;
            if (i < format.length() && format.charAt(i) == '(') {
                int end = format.indexOf(')', i);
                if (end < 0 || !(given instanceof Map<?, ?> m)) {
                    throw new Refusal("a format wants a mapping");
                }
                String name = format.substring(i + 1, end);
                if (!m.containsKey(name)) {
                    throw new Refusal("a format has no value for " + name);
                }
                value = m.get(name);
                named = true;
                byName = true;
                i = end + 1;
            }
            int start = i;
            while (i < format.length() && "-+ #0123456789.".indexOf(format.charAt(i)) >= 0) {
                i++;
            }
            if (i == format.length()) {
                throw new Refusal("a format is cut");
            }
            String flags = format.substring(start, i);
            char conversion = format.charAt(i);
            if (conversion == '%') {
                out.append('%');
                continue;
            }
            if (!named) {
                if (used >= values.size()) {
                    throw new Refusal("a format has more places than values");
                }
                Object next = values.get(used++);
                value = next == NONE ? null : next;
            }
            append(out, flags, conversion, value);
        }
        boolean takesAll = byName || given instanceof Map || given instanceof List;
        if (used < values.size() && !takesAll) {
            throw new Refusal("a format has fewer places than values");
        }
        return out.toString();
    }

    private static final Object NONE = new Object();

    private static Object cell(Object v) {
        return v == null ? NONE : v;
    }

    private void append(StringBuilder out, String flags, char conversion, Object value) {
        int dot = flags.indexOf('.');
        String head = dot < 0 ? flags : flags.substring(0, dot);
        int digits = 0;
        while (digits < head.length() && "-+ #0".indexOf(head.charAt(digits)) >= 0) {
            digits++;
        }
        String marks = head.substring(0, digits);
        int width = count(head.substring(digits));
        Integer precision = dot < 0 ? null : (Integer) count(flags.substring(dot + 1));
        String text =
                switch (conversion) {
                    case 's' -> cut(Text.of(value, budget), precision);
                    case 'r' -> cut(Text.repr(value, budget), precision);
                    case 'd', 'i', 'u', 'x', 'X', 'o' ->
                            signed(marks, integer(conversion, marks, value, precision));
                    case 'f', 'F' -> signed(marks, fixed(value, precision == null ? 6 : precision));
                    default ->
                            throw new Refusal("the format %" + conversion + " is not known here");
                };
        budget.spend(text.length() + (long) width);
        pad(out, text, width, marks, "sr".indexOf(conversion) < 0);
    }

    private static String cut(String text, Integer precision) {
        return precision == null || text.codePointCount(0, text.length()) <= precision
                ? text
                : text.substring(0, text.offsetByCodePoints(0, precision));
    }

    private static int count(String digits) {
        if (digits.length() > 5 || digits.indexOf('.') >= 0) {
            throw new Refusal("a format is too wide");
        }
        int n = digits.isEmpty() ? 0 : Integer.parseInt(digits);
        if (n > WIDEST) {
            throw new Refusal("a format is too wide");
        }
        return n;
    }

    private static String integer(char conversion, String marks, Object value, Integer precision) {
        boolean decimal = "diu".indexOf(conversion) >= 0;
        Object whole =
                decimal && value instanceof Double d && Double.isFinite(d)
                        ? Values.integer(new BigDecimal(d).toBigInteger())
                        : value;
        if (!Values.isWhole(whole)) {
            throw new Refusal("a format wants a number, not " + Values.type(value));
        }
        if (precision != null || marks.indexOf('#') >= 0) {
            throw new Refusal("a precision or # of integers is not known here");
        }
        String text = Values.big(whole).toString(decimal ? 10 : conversion == 'o' ? 8 : 16);
        return conversion == 'X' ? text.toUpperCase(java.util.Locale.ROOT) : text;
    }

    private static String fixed(Object value, int precision) {
        if (!Values.isNumber(value)) {
            throw new Refusal("a format wants a number, not " + Values.type(value));
        }
        double d = Values.decimal(value);
        if (!Double.isFinite(d)) {
            return Text.decimal(d);
        }
        String text = new BigDecimal(d).setScale(precision, RoundingMode.HALF_EVEN).toPlainString();
        return 1 / d < 0 && d == 0 || d < 0 && text.charAt(0) != '-' ? "-" + text : text;
    }

    private static String signed(String marks, String text) {
        return text.startsWith("-")
                ? text
                : (marks.indexOf('+') >= 0 ? "+" : marks.indexOf(' ') >= 0 ? " " : "") + text;
    }

    private static void pad(
            StringBuilder out, String text, int width, String marks, boolean number) {
        int missing = Math.max(0, width - text.codePointCount(0, text.length()));
        if (marks.indexOf('-') >= 0) {
            out.append(text).repeat(' ', missing);
        } else if (number && marks.indexOf('0') >= 0) {
            int sign = !text.isEmpty() && "+- ".indexOf(text.charAt(0)) >= 0 ? 1 : 0;
            out.append(text, 0, sign).repeat('0', missing).append(text, sign, text.length());
        } else {
            out.repeat(' ', missing).append(text);
        }
    }

    /// `format.format(...)`; a field is empty, a number or a name, and what comes behind its colon
    /// is a width with an alignment, or a precision.
    String braces(String format, Arguments given) {
        StringBuilder out = new StringBuilder();
        int automatic = 0;
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            boolean twice = i + 1 < format.length() && format.charAt(i + 1) == c;
            if ((c == '{' || c == '}') && twice) {
                out.append(c);
                i++;
            } else if (c == '}') {
                throw new Refusal("a format has a } without {");
            } else if (c != '{') {
                out.append(c);
            } else {
                int end = format.indexOf('}', i);
                if (end < 0 || format.substring(i + 1, end).indexOf('{') >= 0) {
                    throw new Refusal("a format is cut, or nested, which is not known here");
                }
                String field = format.substring(i + 1, end);
                int colon = field.indexOf(':');
                String name = colon < 0 ? field : field.substring(0, colon);
                boolean quoted = name.endsWith("!r");
                name = quoted || name.endsWith("!s") ? name.substring(0, name.length() - 2) : name;
                Object value = field(name.isEmpty() ? String.valueOf(automatic++) : name, given);
                String spec = colon < 0 ? "" : field.substring(colon + 1);
                out.append(spec(quoted ? Text.repr(value, budget) : value, spec));
                i = end;
            }
        }
        budget.spend(out.length());
        return out.toString();
    }

    private static Object field(String name, Arguments given) {
        if (name.chars().allMatch(d -> d >= '0' && d <= '9') && name.length() < 6) {
            return given.get(Integer.parseInt(name));
        }
        if (!given.named().containsKey(name)) {
            throw new Refusal("a format has no value for " + name);
        }
        return given.named().get(name);
    }

    private String spec(Object value, String spec) {
        if (spec.isEmpty()) {
            return Text.of(value, budget);
        }
        java.util.regex.Matcher m =
                java.util.regex.Pattern.compile("([<>]?)(0?)(\\d{0,4})(?:\\.(\\d{1,3}))?([sdf]?)")
                        .matcher(spec);
        boolean number = Values.isNumber(value) && !(value instanceof Boolean);
        String kind = m.matches() ? m.group(5) : "";
        boolean fits =
                m.matches()
                        && (number
                                ? !kind.equals("s")
                                        && (m.group(4) == null || kind.equals("f"))
                                        && (!kind.equals("d") || Values.isWhole(value))
                                : Values.string(value) != null
                                        && m.group(2).isEmpty()
                                        && "s".contains(kind));
        if (!fits) {
            throw new Refusal(
                    "the format {:%s} of %s is not known here".formatted(spec, Values.type(value)));
        }
        Integer precision = m.group(4) == null ? null : Integer.valueOf(m.group(4));
        String text =
                kind.equals("f")
                        ? fixed(value, precision == null ? 6 : precision)
                        : cut(Text.of(value, budget), number ? null : precision);
        boolean left = m.group(1).isEmpty() ? !number : m.group(1).equals("<");
        StringBuilder out = new StringBuilder();
        pad(
                out,
                text,
                m.group(3).isEmpty() ? 0 : Integer.parseInt(m.group(3)),
                left ? "-" : m.group(2),
                number);
        return out.toString();
    }
}
