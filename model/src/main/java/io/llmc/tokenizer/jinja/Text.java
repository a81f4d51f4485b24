// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.math.BigDecimal;
import java.util.List;
import java.util.Map;

/// Values as text, letter for letter as Python prints them and as its json module writes them.
final class Text {
    private final Budget budget;
    private final StringBuilder out = new StringBuilder();

    private Text(Budget budget) {
        this.budget = budget;
    }

    /// `str(v)`.
    static String of(Object v, Budget budget) {
        return v instanceof String s ? s : repr(v, budget);
    }

    private static String repr(Object v, Budget budget) {
        Text text = new Text(budget);
        text.repr(v);
        return text.out.toString();
    }

    private void repr(Object v) {
        budget.spend(1);
        budget.enter();
        switch (v) {
            case null -> out.append("None");
            case Values.Undefined _ -> {}
            case Boolean b -> out.append(b ? "True" : "False");
            case Double d -> out.append(decimal(d));
            case String s -> quoted(s);
            case List<?> l -> {
                String between = "[";
                for (Object item : l) {
                    out.append(between);
                    repr(item);
                    between = ", ";
                }
                out.append(l.isEmpty() ? "[]" : "]");
            }
            case Map<?, ?> m -> {
                String between = "{";
                for (Map.Entry<?, ?> e : m.entrySet()) {
                    out.append(between);
                    repr(e.getKey());
                    out.append(": ");
                    repr(e.getValue());
                    between = ", ";
                }
                out.append(m.isEmpty() ? "{}" : "}");
            }
            case Long n -> out.append(n);
            default -> throw new Refusal("cannot print " + Values.type(v));
        }
        budget.leave();
    }

    private void quoted(String s) {
        budget.spend(s.length());
        char quote = s.indexOf('\'') >= 0 && s.indexOf('"') < 0 ? '"' : '\'';
        out.append(quote);
        s.codePoints()
                .forEach(c -> {
                    switch (c) {
                        case '\n' -> out.append("\\n");
                        case '\r' -> out.append("\\r");
                        case '\t' -> out.append("\\t");
                        case '\\' -> out.append("\\\\");
                        default -> {
                            if (c == quote) {
                                out.append('\\').append(quote);
                            } else if (isPrinted(c)) {
                                out.appendCodePoint(c);
                            } else {
                                out.append(
                                        c < 0x100
                                                ? "\\x%02x".formatted(c)
                                                : c < 0x10000
                                                        ? "\\u%04x".formatted(c)
                                                        : "\\U%08x".formatted(c));
                            }
                        }
                    }
                });
        out.append(quote);
    }

    private static boolean isPrinted(int c) {
        return switch (Character.getType(c)) {
            case Character.CONTROL,
                    Character.FORMAT,
                    Character.SURROGATE,
                    Character.PRIVATE_USE,
                    Character.UNASSIGNED,
                    Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR ->
                    false;
            case Character.SPACE_SEPARATOR -> c == ' ';
            default -> true;
        };
    }

    private static String decimal(double d) {
        if (Double.isNaN(d) || Double.isInfinite(d)) {
            return Double.isNaN(d) ? "nan" : d > 0 ? "inf" : "-inf";
        }
        if (d == 0) {
            return 1 / d > 0 ? "0.0" : "-0.0";
        }
        BigDecimal shortest = new BigDecimal(Double.toString(d)).stripTrailingZeros();
        int exponent = shortest.precision() - shortest.scale() - 1;
        if (exponent >= -4 && exponent < 16) {
            String plain = shortest.toPlainString();
            return plain.indexOf('.') < 0 ? plain + ".0" : plain;
        }
        String digits = shortest.unscaledValue().abs().toString();
        return (d < 0 ? "-" : "")
                + digits.charAt(0)
                + (digits.length() > 1 ? "." + digits.substring(1) : "")
                + "e%s%02d".formatted(exponent < 0 ? "-" : "+", Math.abs(exponent));
    }

    /// `json.dumps(v, ensure_ascii=False, indent=indent)`.
    ///
    /// @param indent null for one line
    static String json(Object v, Long indent, Budget budget) {
        Text text = new Text(budget);
        text.json(v, indent, 0);
        return text.out.toString();
    }

    private void json(Object v, Long indent, int level) {
        budget.spend(1);
        budget.enter();
        switch (v) {
            case null -> out.append("null");
            case Boolean b -> out.append(b);
            case Long n -> out.append(n);
            case Double d -> out.append(decimal(d));
            case String s -> jsonQuoted(s);
            case List<?> l -> {
                out.append('[');
                int i = 0;
                for (Object item : l) {
                    between(i++, indent, level + 1);
                    json(item, indent, level + 1);
                }
                end(l.isEmpty(), indent, level);
                out.append(']');
            }
            case Map<?, ?> m -> {
                out.append('{');
                int i = 0;
                for (Map.Entry<?, ?> e : m.entrySet()) {
                    between(i++, indent, level + 1);
                    jsonQuoted(e.getKey() instanceof String s ? s : json(e.getKey(), null, budget));
                    out.append(": ");
                    json(e.getValue(), indent, level + 1);
                }
                end(m.isEmpty(), indent, level);
                out.append('}');
            }
            default -> throw new Refusal("cannot write %s as JSON".formatted(Values.type(v)));
        }
        budget.leave();
    }

    private void between(int i, Long indent, int level) {
        if (indent == null) {
            out.append(i == 0 ? "" : ", ");
        } else {
            out.append(i == 0 ? "" : ",");
            newline(indent, level);
        }
    }

    private void end(boolean empty, Long indent, int level) {
        if (indent != null && !empty) {
            newline(indent, level);
        }
    }

    private void newline(long indent, int level) {
        long blanks = Math.multiplyExact(Math.max(0, indent), level);
        budget.spend(blanks);
        out.append('\n').repeat(' ', (int) blanks);
    }

    private void jsonQuoted(String s) {
        budget.spend(s.length());
        out.append('"');
        for (char c : s.toCharArray()) {
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\b' -> out.append("\\b");
                case '\f' -> out.append("\\f");
                default -> {
                    if (c < 0x20) {
                        out.append("\\u%04x".formatted((int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }
}
