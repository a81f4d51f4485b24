// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/// What stands behind `|`: texts, numbers, and what is made of one value; the others are in
/// [ItemFilters].
public record Filters(Budget budget) {
    /// Every filter of Jinja's; those that no template is known to use end in a refusal.
    public static final Set<String> NAMES =
            Set.of(
                    "abs",
                    "attr",
                    "batch",
                    "capitalize",
                    "center",
                    "count",
                    "d",
                    "default",
                    "dictsort",
                    "e",
                    "escape",
                    "filesizeformat",
                    "first",
                    "float",
                    "forceescape",
                    "format",
                    "groupby",
                    "indent",
                    "int",
                    "join",
                    "last",
                    "length",
                    "list",
                    "lower",
                    "items",
                    "map",
                    "min",
                    "max",
                    "pprint",
                    "random",
                    "reject",
                    "rejectattr",
                    "replace",
                    "reverse",
                    "round",
                    "safe",
                    "select",
                    "selectattr",
                    "slice",
                    "sort",
                    "string",
                    "striptags",
                    "sum",
                    "title",
                    "trim",
                    "truncate",
                    "unique",
                    "upper",
                    "urlencode",
                    "urlize",
                    "wordcount",
                    "wordwrap",
                    "xmlattr",
                    "tojson");

    private static final Pattern WORD = Pattern.compile("\\w+", Pattern.UNICODE_CHARACTER_CLASS);

    public Object apply(String name, Object v, Arguments given) {
        return switch (name) {
            case "trim" -> {
                Object chars = given.named(0, "chars").get(0, "chars", null);
                yield like(v, StringMethods.strip(text(v), chars, true, true));
            }
            case "upper" -> like(plain(v, given), text(v).toUpperCase(Locale.ROOT));
            case "lower" -> like(plain(v, given), text(v).toLowerCase(Locale.ROOT));
            case "capitalize" -> like(plain(v, given), Letters.capitalize(text(v)));
            case "title" -> title(text(plain(v, given)));
            case "string" -> plain(v, given) instanceof Values.Markup ? v : text(v);
            case "safe" -> new Values.Markup(text(plain(v, given)));
            case "escape", "e" ->
                    plain(v, given) instanceof Values.Markup
                            ? v
                            : new Values.Markup(Values.Markup.escape(text(v)));
            case "forceescape" -> new Values.Markup(Values.Markup.escape(text(plain(v, given))));
            case "replace" -> {
                given.named(2, "old", "new", "count");
                Object count = given.get(2, "count", null);
                yield new StringMethods(budget)
                        .replace(
                                text(v),
                                text(given.get(0, "old", null)),
                                text(given.get(1, "new", null)),
                                count == null ? -1 : given.whole(2, "count", -1));
            }
            case "indent" -> indent(v, given.named(0, "width", "first", "blank"));
            case "center" ->
                    new StringMethods(budget)
                            .padded(
                                    text(v),
                                    "center",
                                    given.named(0, "width").whole(0, "width", 80),
                                    " ");
            case "truncate" -> truncate(v, given.named(0, "length", "killwords", "end", "leeway"));
            case "wordcount" -> WORD.matcher(text(plain(v, given))).results().count();
            case "urlencode" -> urlEncode(plain(v, given));
            case "format" -> format(text(v), given);
            case "length", "count" -> new Sequences(budget).length(plain(v, given));
            case "default", "d" -> {
                given.named(0, "default_value", "boolean");
                boolean absent =
                        v instanceof Values.Undefined
                                || given.flag(1, "boolean") && !Values.isTrue(v);
                yield absent ? given.get(0, "default_value", "") : v;
            }
            case "attr" -> {
                if (v instanceof Values.Undefined u) {
                    throw new Refusal(u.what() + " is undefined");
                }
                String attribute =
                        given.named(1, "name").get(0, "name", null) instanceof String s ? s : "";
                Object found = new Attributes(budget).attribute(v, attribute);
                yield Comparison.ABSENT.equals(found) ? new Values.Undefined(attribute) : found;
            }
            case "tojson" ->
                    json(v, given.named(0, "ensure_ascii", "indent", "separators", "sort_keys"));
            case "int" -> whole(v, given.named(0, "default", "base"));
            case "float" -> {
                Double d = decimal(v);
                yield d == null ? given.named(0, "default").get(0, "default", 0.0) : d;
            }
            case "abs" -> absolute(plain(v, given));
            case "round" -> round(v, given.named(0, "precision", "method"));
            default -> new ItemFilters(budget, this).apply(name, v, given);
        };
    }

    private static Object plain(Object v, Arguments given) {
        given.positional(0, 0);
        return v;
    }

    private static Object like(Object v, String text) {
        return v instanceof Values.Markup ? new Values.Markup(text) : text;
    }

    String text(Object v) {
        String text = Text.of(v, budget);
        budget.spend(text.length());
        return text;
    }

    /// Words begin behind white space, hyphens and opening brackets.
    private static String title(String s) {
        StringBuilder out = new StringBuilder();
        boolean begins = true;
        for (int c : s.codePoints().toArray()) {
            String one = Character.toString(c);
            out.append(begins ? one.toUpperCase(Locale.ROOT) : one.toLowerCase(Locale.ROOT));
            begins = Spaces.is(c) || "-({[<".indexOf(c) >= 0;
        }
        return out.toString();
    }

    private Object json(Object v, Arguments given) {
        Object indent = given.get(1, "indent", null);
        String blanks =
                indent == null
                        ? null
                        : indent instanceof String s
                                ? s
                                : (String)
                                        new Arithmetic(budget)
                                                .apply("*", " ", given.whole(1, "indent", 0));
        String item = indent == null ? ", " : ",";
        String key = ": ";
        Object separators = given.get(2, "separators", null);
        if (separators != null) {
            List<Object> both = new Sequences(budget).items(separators);
            if (both.size() != 2) {
                throw new Refusal("separators are two");
            }
            item = Arguments.text(both.getFirst());
            key = Arguments.text(both.getLast());
        }
        boolean ascii = given.flag(0, "ensure_ascii");
        boolean sorted = given.flag(3, "sort_keys");
        return Text.json(v, new Text.Json(blanks, item, key, ascii, sorted), budget);
    }

    private Object indent(Object v, Arguments given) {
        String s = Arguments.text(v);
        Object width = given.get(0, "width", 4L);
        String blanks =
                width instanceof String w
                        ? w
                        : (String)
                                new Arithmetic(budget).apply("*", " ", given.whole(0, "width", 4));
        boolean blank = given.flag(2, "blank");
        StringBuilder out = new StringBuilder(given.flag(1, "first") ? blanks : "");
        int number = 0;
        for (String line : StringMethods.lines(s + "\n", false)) {
            boolean indented = number > 0 && (blank || !line.isEmpty());
            out.append(number++ == 0 ? "" : "\n").append(indented ? blanks : "").append(line);
            budget.spend((long) blanks.length() + line.length());
        }
        return like(v, out.toString());
    }

    private Object truncate(Object v, Arguments given) {
        long length = given.whole(0, "length", 255);
        String end = Arguments.text(given.get(2, "end", "..."));
        long leeway = given.get(3, "leeway", null) == null ? 5 : given.whole(3, "leeway", 5);
        long room = length - end.codePointCount(0, end.length());
        if (room < 0 || leeway < 0) {
            throw new Refusal("a text cannot be cut so short");
        }
        if (new Sequences(budget).length(v) <= length + leeway) {
            return v;
        }
        String s = Arguments.text(v);
        String cut = s.substring(0, s.offsetByCodePoints(0, (int) room));
        int blank = given.flag(1, "killwords") ? -1 : cut.lastIndexOf(' ');
        return like(v, (blank < 0 ? cut : cut.substring(0, blank)) + end);
    }

    private String urlEncode(Object v) {
        if (v instanceof Map || v instanceof List || v instanceof Values.Tuple) {
            throw new Refusal("urlencode of %s is not known here".formatted(Values.type(v)));
        }
        StringBuilder out = new StringBuilder();
        for (byte b : text(v).getBytes(StandardCharsets.UTF_8)) {
            boolean kept = b > 0 && (Character.isLetterOrDigit(b) || "_.-~/".indexOf(b) >= 0);
            out.append(kept ? String.valueOf((char) b) : "%%%02X".formatted(b));
        }
        return out.toString();
    }

    private String format(String s, Arguments given) {
        if (!given.args().isEmpty() && !given.named().isEmpty()) {
            throw new Refusal("format takes values with or without names, not both");
        }
        return new Formatting(budget)
                .percent(
                        s,
                        given.named().isEmpty()
                                ? new Values.Tuple(given.args(), false)
                                : given.named());
    }

    private static Object absolute(Object v) {
        if (!Values.isNumber(v)) {
            throw new Refusal("abs wants a number, not " + Values.type(v));
        }
        return v instanceof Double d ? Math.abs(d) : Values.integer(Values.big(v).abs());
    }

    private Object whole(Object v, Arguments given) {
        if (v instanceof Values.Undefined u) {
            throw new Refusal(u.what() + " is undefined");
        }
        Object absent = given.get(0, "default", 0L);
        String s = Values.string(v);
        if (s != null) {
            Object parsed = Digits.integer(s, given.whole(1, "base", 10));
            if (parsed != null) {
                return parsed;
            }
        } else if (Values.isWhole(v)) {
            return Values.integer(Values.big(v));
        }
        Double d = decimal(v);
        if (d != null && d.isInfinite() && s == null) {
            throw new Refusal("an infinite number is no integer");
        }
        return d == null || !Double.isFinite(d)
                ? absent
                : Values.integer(new BigDecimal(d).toBigInteger());
    }

    /// Null for what is no number.
    private static Double decimal(Object v) {
        if (v instanceof Values.Undefined u) {
            throw new Refusal(u.what() + " is undefined");
        }
        String s = Values.string(v);
        return s != null
                ? Digits.decimal(s)
                : Values.isNumber(v) ? (Double) Values.decimal(v) : null;
    }

    private Object round(Object v, Arguments given) {
        String method = Arguments.text(given.get(1, "method", "common"));
        long precision = given.whole(0, "precision", 0);
        if (!Set.of("common", "ceil", "floor").contains(method) || Math.abs(precision) > 300) {
            throw new Refusal("round knows common, ceil and floor, to 300 digits");
        }
        if (!Values.isNumber(v)) {
            throw new Refusal("round wants a number, not " + Values.type(v));
        }
        if (method.equals("common")) {
            if (Values.isWhole(v)) {
                BigDecimal exact = new BigDecimal(Values.big(v));
                BigInteger rounded =
                        exact.setScale((int) precision, RoundingMode.HALF_EVEN).toBigInteger();
                return precision >= 0 ? Values.integer(Values.big(v)) : Values.integer(rounded);
            }
            double d = Values.decimal(v);
            double rounded =
                    !Double.isFinite(d)
                            ? d
                            : new BigDecimal(d)
                                    .setScale((int) precision, RoundingMode.HALF_EVEN)
                                    .doubleValue();
            return rounded == 0 ? Math.copySign(0, d) : rounded;
        }
        Arithmetic arithmetic = new Arithmetic(budget);
        Object power = arithmetic.apply("**", 10L, precision);
        Object scaled = arithmetic.apply("*", v, power);
        if (scaled instanceof Double d) {
            if (!Double.isFinite(d)) {
                throw new Refusal("an infinite number is no integer");
            }
            double at = method.equals("ceil") ? Math.ceil(d) : Math.floor(d);
            scaled = Values.integer(new BigDecimal(at).toBigInteger());
        }
        return arithmetic.apply("/", scaled, power);
    }
}
