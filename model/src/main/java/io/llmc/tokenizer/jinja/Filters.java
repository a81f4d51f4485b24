// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// What stands behind `|`.
record Filters(Budget budget) {
    Object apply(String name, Object v, Arguments given) {
        return switch (name) {
            case "trim" -> StringMethods.strip(text(v), given.get(0, "chars", null), true, true);
            case "upper" -> text(v).toUpperCase(Locale.ROOT);
            case "lower" -> text(v).toLowerCase(Locale.ROOT);
            case "capitalize" -> StringMethods.capitalize(text(v));
            case "title" ->
                    StringMethods.title(text(v), c -> Spaces.is(c) || "-({[<".indexOf(c) >= 0);
            case "string" -> text(v);
            case "safe" -> v;
            case "replace" ->
                    new StringMethods(budget)
                            .replace(
                                    text(v),
                                    given.text(0),
                                    given.text(1),
                                    given.whole(2, "count", -1));
            case "indent" -> indent(text(v), given);
            case "length", "count" -> Values.length(v);
            case "default", "d" ->
                    v instanceof Values.Undefined
                                    || Values.isTrue(given.get(1, "boolean", false))
                                            && !Values.isTrue(v)
                            ? given.get(0, "default_value", "")
                            : v;
            case "first" -> Values.item(Values.items(v, budget), 0L);
            case "last" -> Values.item(Values.items(v, budget), -1L);
            case "list" -> Values.items(v, budget);
            case "reverse" -> reversed(v);
            case "join" -> join(v, given);
            case "tojson" -> json(v, given);
            case "items" ->
                    v instanceof Map<?, ?> m
                            ? DictMethods.items(m, budget)
                            : Values.items(v, budget);
            case "dictsort" ->
                    sorted(
                            DictMethods.items(mapping(v), budget),
                            pair -> Values.item(pair, 0L),
                            false);
            case "sort" ->
                    sorted(
                            Values.items(v, budget),
                            item -> path(item, given.get(2, "attribute", null)),
                            Values.isTrue(given.get(0, "reverse", false)));
            case "unique" -> unique(Values.items(v, budget));
            case "map" -> map(Values.items(v, budget), given);
            case "select" -> select(v, given, 0, true);
            case "reject" -> select(v, given, 0, false);
            case "selectattr" -> select(v, given, 1, true);
            case "rejectattr" -> select(v, given, 1, false);
            case "int" -> whole(v, given.get(0, "default", 0L));
            case "float" -> decimal(v, given.get(0, "default", 0.0));
            case "abs" ->
                    v instanceof Long n
                            ? (Object) Math.abs(n)
                            : (Object) Math.abs(Values.decimal(v));
            default -> throw new Refusal("there is no filter %s here".formatted(name));
        };
    }

    private String text(Object v) {
        String text = Text.of(v, budget);
        budget.spend(text.length());
        return text;
    }

    private static Map<?, ?> mapping(Object v) {
        if (v instanceof Map<?, ?> m) {
            return m;
        }
        throw new Refusal("expected a mapping, not " + Values.type(v));
    }

    private Object reversed(Object v) {
        List<Object> items = Values.items(v, budget);
        Collections.reverse(items);
        return v instanceof String ? new StringMethods(budget).join(items, "") : items;
    }

    private String join(Object v, Arguments given) {
        Object attribute = given.get(1, "attribute", null);
        List<Object> texts = new ArrayList<>();
        for (Object item : Values.items(v, budget)) {
            texts.add(text(path(item, attribute)));
        }
        return new StringMethods(budget).join(texts, text(given.get(0, "d", "")));
    }

    private String json(Object v, Arguments given) {
        for (String key : given.named().keySet()) {
            if (!List.of("indent", "ensure_ascii").contains(key)
                    || Values.isTrue(given.named().get("ensure_ascii"))) {
                throw new Refusal("tojson has no %s here".formatted(key));
            }
        }
        Object indent = given.get(1, "indent", null);
        return Text.json(v, indent == null ? null : (Long) given.whole(1, "indent", 0), budget);
    }

    private String indent(String s, Arguments given) {
        Object width = given.get(0, "width", 4L);
        String blanks =
                width instanceof String w ? w : (String) Arithmetic.apply("*", " ", width, budget);
        boolean first = Values.isTrue(given.get(1, "first", false));
        boolean blank = Values.isTrue(given.get(2, "blank", false));
        StringBuilder out = new StringBuilder();
        int number = 0;
        for (String line : s.split("\n", -1)) {
            boolean indented = number == 0 ? first : blank || !line.isEmpty();
            out.append(number++ == 0 ? "" : "\n").append(indented ? blanks : "").append(line);
            budget.spend(blanks.length());
        }
        return out.toString();
    }

    private static List<Object> sorted(
            List<Object> items, java.util.function.UnaryOperator<Object> key, boolean down) {
        Comparator<Object> order =
                (a, b) -> Values.order(folded(key.apply(a)), folded(key.apply(b)));
        items.sort(down ? order.reversed() : order);
        return items;
    }

    /// Jinja sorts without regard to case.
    private static Object folded(Object v) {
        return v instanceof String s ? s.toLowerCase(Locale.ROOT) : v;
    }

    private List<Object> unique(List<Object> items) {
        List<Object> once = new ArrayList<>();
        for (Object item : items) {
            if (once.stream().noneMatch(o -> Values.same(folded(o), folded(item), budget))) {
                once.add(item);
            }
        }
        return once;
    }

    /// `a.b` of an item; the item itself where the path is null.
    private static Object path(Object item, Object path) {
        Object at = item;
        if (path instanceof Long) {
            return Values.item(item, path);
        }
        for (String name :
                path == null ? List.<String>of() : List.of(Arguments.text(path).split("\\."))) {
            at = Values.item(at, name);
        }
        return at;
    }

    private List<Object> map(List<Object> items, Arguments given) {
        List<Object> mapped = new ArrayList<>();
        for (Object item : items) {
            if (given.named().containsKey("attribute")) {
                Object at = path(item, given.named().get("attribute"));
                mapped.add(
                        at instanceof Values.Undefined
                                ? given.named().getOrDefault("default", at)
                                : at);
            } else {
                mapped.add(apply(given.text(0), item, behind(given, 1)));
            }
        }
        return mapped;
    }

    private static Arguments behind(Arguments given, int from) {
        return new Arguments(
                given.args().subList(Math.min(from, given.args().size()), given.args().size()),
                given.named());
    }

    /// @param attributes 1 where the first argument names an attribute, else 0
    private List<Object> select(Object v, Arguments given, int attributes, boolean keep) {
        List<Object> kept = new ArrayList<>();
        for (Object item : Values.items(v, budget)) {
            Object tested = attributes == 0 ? item : path(item, given.get(0));
            boolean holds =
                    given.args().size() > attributes
                            ? new Tests(budget)
                                    .holds(
                                            given.text(attributes),
                                            tested,
                                            behind(given, attributes + 1))
                            : Values.isTrue(tested);
            if (holds == keep) {
                kept.add(item);
            }
        }
        return kept;
    }

    private static Object whole(Object v, Object absent) {
        if (v instanceof Double d) {
            return (long) (double) d;
        }
        try {
            return v instanceof String s
                    ? (Object) (long) Double.parseDouble(s.strip())
                    : Values.isNumber(v) ? Values.whole(v) : absent;
        } catch (NumberFormatException e) {
            return absent;
        }
    }

    private static Object decimal(Object v, Object absent) {
        try {
            return v instanceof String s
                    ? (Object) Double.parseDouble(s.strip())
                    : Values.isNumber(v) ? Values.decimal(v) : absent;
        } catch (NumberFormatException e) {
            return absent;
        }
    }
}
