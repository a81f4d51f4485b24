// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// Values as text, letter for letter as Python prints them and as its json module writes them.
public final class Text {
    /// Of an integer, as in Python.
    private static final int MOST_DIGITS = 4300;

    private final Budget budget;
    private final StringBuilder out = new StringBuilder();

    private Text(Budget budget) {
        this.budget = budget;
    }

    /// `str(v)`.
    public static String of(Object v, Budget budget) {
        String s = Values.string(v);
        return s != null ? s : v instanceof Values.Undefined ? "" : repr(v, budget);
    }

    /// `repr(v)`.
    static String repr(Object v, Budget budget) {
        Text text = new Text(budget);
        text.repr(v);
        return text.out.toString();
    }

    private void repr(Object v) {
        budget.spend(1);
        budget.enter();
        switch (v) {
            case null -> out.append("None");
            case Values.Undefined _ -> out.append("Undefined");
            case Boolean b -> out.append(b ? "True" : "False");
            case Double d -> out.append(decimal(d));
            case String s -> quoted(s);
            case Values.Markup m -> {
                out.append("Markup(");
                quoted(m.text());
                out.append(')');
            }
            case List<?> l -> list("[", l, "]");
            case Values.Tuple t -> list("(", t.items(), t.items().size() == 1 ? ",)" : ")");
            case Values.Range r ->
                    out.append("range(%d, %d".formatted(r.start(), r.stop()))
                            .append(r.step() == 1 ? ")" : ", %d)".formatted(r.step()));
            case Values.View w -> {
                out.append("dict_%s(".formatted(w.kind().name().toLowerCase(Locale.ROOT)));
                list("[", new Sequences(budget).items(w), "])");
            }
            case Values.Namespace n -> {
                out.append("<Namespace ");
                repr(n.values);
                out.append('>');
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
            case BigInteger n -> out.append(digits(n));
            // Python prints where in memory it is.
            default -> throw new Refusal("cannot print " + Values.type(v));
        }
        budget.leave();
    }

    private void list(String open, List<?> items, String close) {
        String between = "";
        out.append(open);
        for (Object item : items) {
            out.append(between);
            repr(item);
            between = ", ";
        }
        out.append(close);
    }

    private static String digits(BigInteger n) {
        String digits = n.toString();
        if (digits.length() > MOST_DIGITS + (n.signum() < 0 ? 1 : 0)) {
            throw new Refusal("an integer has more than %,d digits".formatted(MOST_DIGITS));
        }
        return digits;
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

    static boolean isPrinted(int c) {
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

    static String decimal(double d) {
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

    /// How `json.dumps` writes.
    ///
    /// @param indent what a level is indented with; null for one line
    /// @param item between items
    /// @param key behind a key
    /// @param ascii whether other characters are written as their codes
    /// @param sorted whether keys are
    record Json(String indent, String item, String key, boolean ascii, boolean sorted) {}

    /// `json.dumps(v, ...)`.
    static String json(Object v, Json form, Budget budget) {
        Text text = new Text(budget);
        text.json(v, form, 0);
        return text.out.toString();
    }

    private void json(Object v, Json form, int level) {
        budget.spend(1);
        budget.enter();
        switch (v) {
            case null -> out.append("null");
            case Boolean b -> out.append(b);
            case Long n -> out.append(n);
            case BigInteger n -> out.append(digits(n));
            case Double d -> out.append(jsonDecimal(d));
            case String s -> jsonQuoted(s, form);
            case Values.Markup m -> jsonQuoted(m.text(), form);
            case List<?> l -> jsonList(l, form, level);
            case Values.Tuple t -> jsonList(t.items(), form, level);
            case Map<?, ?> m -> {
                out.append('{');
                int i = 0;
                for (Map.Entry<?, ?> e : entries(m, form)) {
                    between(i++, form, level + 1);
                    jsonQuoted(key(e.getKey()), form);
                    out.append(form.key());
                    json(e.getValue(), form, level + 1);
                }
                end(m.isEmpty(), form, level);
                out.append('}');
            }
            default -> throw new Refusal("cannot write %s as JSON".formatted(Values.type(v)));
        }
        budget.leave();
    }

    private void jsonList(List<?> l, Json form, int level) {
        out.append('[');
        int i = 0;
        for (Object item : l) {
            between(i++, form, level + 1);
            json(item, form, level + 1);
        }
        end(l.isEmpty(), form, level);
        out.append(']');
    }

    private Collection<? extends Map.Entry<?, ?>> entries(Map<?, ?> m, Json form) {
        if (!form.sorted()) {
            return m.entrySet();
        }
        List<Map.Entry<?, ?>> sorted = new ArrayList<>(m.entrySet());
        Comparison comparison = new Comparison(budget);
        sorted.sort((a, b) -> comparison.order(a.getKey(), b.getKey()));
        return sorted;
    }

    private static String key(Object key) {
        return switch (key) {
            case String s -> s;
            case null -> "null";
            case Boolean b -> b.toString();
            case Double d -> jsonDecimal(d);
            case Long n -> n.toString();
            case BigInteger n -> digits(n);
            default -> throw new Refusal("%s is no key in JSON".formatted(Values.type(key)));
        };
    }

    private static String jsonDecimal(double d) {
        return Double.isNaN(d)
                ? "NaN"
                : Double.isInfinite(d) ? (d > 0 ? "Infinity" : "-Infinity") : decimal(d);
    }

    private void between(int i, Json form, int level) {
        out.append(i == 0 ? "" : form.item());
        newline(form, level);
    }

    private void end(boolean empty, Json form, int level) {
        if (!empty) {
            newline(form, level);
        }
    }

    private void newline(Json form, int level) {
        if (form.indent() != null) {
            budget.spend((long) form.indent().length() * level + 1);
            out.append('\n').append(form.indent().repeat(level));
        }
    }

    private void jsonQuoted(String s, Json form) {
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
                    if (c < 0x20 || form.ascii() && c > 0x7e) {
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
