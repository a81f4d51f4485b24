// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/// `of.name` as Jinja's immutable sandbox gives it: methods that change a list or a mapping, and
/// names with an underscore, are undefined.
public record Attributes(Budget budget) {
    private static final Set<String> LIST_CHANGES =
            Set.of("append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove");
    private static final Set<String> MAP_CHANGES =
            Set.of("clear", "pop", "popitem", "setdefault", "update");

    /// What numbers and views have in Python and nobody has used in a template.
    private static final Set<String> OF_INTEGERS =
            Set.of(
                    "as_integer_ratio",
                    "bit_count",
                    "bit_length",
                    "conjugate",
                    "denominator",
                    "from_bytes",
                    "imag",
                    "is_integer",
                    "numerator",
                    "real",
                    "to_bytes");

    private static final Set<String> OF_DECIMALS =
            Set.of("as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real");

    /// The attribute, or the item of that name where there is none.
    public Object orItem(Object of, String name) {
        if (of instanceof Values.Undefined u) {
            throw new Refusal("%s is undefined, so it has no %s".formatted(u.what(), name));
        }
        Object attribute = attribute(of, name);
        return Comparison.ABSENT.equals(attribute)
                ? new Sequences(budget).item(of, name)
                : attribute;
    }

    /// The item, or the attribute of that name where there is none.
    public Object itemOr(Object of, Object key) {
        Object item = new Sequences(budget).item(of, key);
        if (item instanceof Values.Undefined && key instanceof String name && !has(of, name)) {
            Object attribute = attribute(of, name);
            return Comparison.ABSENT.equals(attribute) ? item : attribute;
        }
        return item;
    }

    /// `a.b.0` of an item.
    Object path(Object item, Object path) {
        if (!(path instanceof String names)) {
            return itemOr(item, path);
        }
        Object at = item;
        for (String name : names.split("\\.", -1)) {
            boolean place =
                    !name.isEmpty()
                            && name.length() < 10
                            && name.chars().allMatch(Character::isDigit);
            at = itemOr(at, place ? (Object) Long.valueOf(name) : name);
        }
        return at;
    }

    private boolean has(Object of, String key) {
        return of instanceof Map<?, ?> m && m.containsKey(key);
    }

    /// [Comparison#ABSENT] where the value has no such attribute.
    Object attribute(Object of, String name) {
        if (name.startsWith("__")) {
            return unsafe(name);
        }
        return switch (of) {
            case Values.Namespace n ->
                    !n.values.containsKey(name)
                            ? Comparison.ABSENT
                            : name.startsWith("_") ? unsafe(name) : n.values.get(name);
            case Values.Attributes a -> a.attribute(name);
            case String s -> method(s, name, false);
            case Values.Markup m -> method(m.text(), name, true);
            case Map<?, ?> m -> method(m, name);
            case java.util.List<?> l ->
                    LIST_CHANGES.contains(name)
                            ? unsafe(name)
                            : name.equals("copy")
                                    ? (Values.Function)
                                            given -> {
                                                given.positional(0, 0);
                                                return new Sequences(budget).items(l);
                                            }
                                    : search(l, name);
            case Values.Tuple t ->
                    t.group() && name.equals("grouper")
                            ? t.items().getFirst()
                            : t.group() && name.equals("list") ? t.items().get(1) : search(t, name);
            case Values.Range r ->
                    switch (name) {
                        case "start" -> r.start();
                        case "stop" -> r.stop();
                        case "step" -> r.step();
                        default -> search(r, name);
                    };
            case Values.View _ -> unknown(Set.of("isdisjoint", "mapping"), name);
            case Double _ -> unknown(OF_DECIMALS, name);
            case Boolean _, Long _, java.math.BigInteger _ -> unknown(OF_INTEGERS, name);
            case Values.Stream _ -> unknown(Set.of("close", "send", "throw", "gi_running"), name);
            case Values.Function _ ->
                    unknown(Set.of("name", "arguments", "defaults", "caller"), name);
            case null, default -> Comparison.ABSENT;
        };
    }

    private static Values.Undefined unsafe(String name) {
        return new Values.Undefined("the attribute %s, which is not safe".formatted(name));
    }

    private static Object unknown(Set<String> names, String name) {
        if (names.contains(name)) {
            throw new Refusal("the attribute %s is not known here".formatted(name));
        }
        return Comparison.ABSENT;
    }

    private Object method(String s, String name, boolean markup) {
        if (!StringMethods.NAMES.contains(name)) {
            return unknown(StringMethods.UNKNOWN, name);
        }
        return (Values.Function)
                given ->
                        markup
                                ? ofMarkup(s, name, given)
                                : new StringMethods(budget).apply(s, name, given);
    }

    /// A method of HTML gives HTML, and what it is given is escaped.
    private Object ofMarkup(String s, String name, Arguments given) {
        if (Set.of("format", "center", "ljust", "rjust").contains(name)) {
            throw new Refusal("the method %s of HTML is not known here".formatted(name));
        }
        Arguments escaped = given;
        if (name.equals("replace") && given.args().size() > 1) {
            ArrayList<Object> args = new ArrayList<>(given.args());
            args.set(1, escaped(args.get(1)));
            escaped = new Arguments(args, given.named());
        } else if (name.equals("join")) {
            ArrayList<Object> items = new ArrayList<>();
            for (Object item : new Sequences(budget).items(given.positional(1, 1).get(0))) {
                items.add(escaped(item));
            }
            return new Values.Markup(new StringMethods(budget).join(items, s));
        }
        return marked(new StringMethods(budget).apply(s, name, escaped));
    }

    private Object escaped(Object v) {
        return v instanceof Values.Markup m ? m.text() : Values.Markup.escape(Text.of(v, budget));
    }

    private static Object marked(Object v) {
        return switch (v) {
            case String s -> new Values.Markup(s);
            case java.util.List<?> l ->
                    new ArrayList<Object>(l.stream().map(Attributes::marked).toList());
            case Values.Tuple t ->
                    new Values.Tuple(
                            new ArrayList<Object>(
                                    t.items().stream().map(Attributes::marked).toList()),
                            false);
            default -> v;
        };
    }

    private Object search(Object of, String name) {
        return switch (name) {
            case "count" ->
                    (Values.Function)
                            given -> {
                                Object what = given.positional(1, 1).get(0);
                                Comparison c = new Comparison(budget);
                                return new Sequences(budget)
                                        .items(of).stream().filter(o -> c.same(o, what)).count();
                            };
            case "index" ->
                    (Values.Function)
                            given -> {
                                Object what = given.positional(1, 1).get(0);
                                Comparison c = new Comparison(budget);
                                long at = 0;
                                for (Object item : new Sequences(budget).items(of)) {
                                    if (c.same(item, what)) {
                                        return at;
                                    }
                                    at++;
                                }
                                throw new Refusal("it is not in the list");
                            };
            default -> Comparison.ABSENT;
        };
    }

    private Object method(Map<?, ?> m, String name) {
        if (MAP_CHANGES.contains(name)) {
            return unsafe(name);
        }
        return switch (name) {
            case "get" ->
                    (Values.Function)
                            given -> {
                                Object key =
                                        new Comparison(budget)
                                                .find(m, given.positional(1, 2).get(0));
                                return Comparison.ABSENT.equals(key)
                                        ? given.args().size() > 1 ? given.get(1) : null
                                        : m.get(key);
                            };
            case "items" -> view(m, Values.View.Kind.ITEMS);
            case "keys" -> view(m, Values.View.Kind.KEYS);
            case "values" -> view(m, Values.View.Kind.VALUES);
            case "copy" ->
                    (Values.Function)
                            given -> {
                                given.positional(0, 0);
                                budget.spend(m.size());
                                return new LinkedHashMap<Object, Object>(m);
                            };
            case "fromkeys" -> unknown(Set.of(name), name);
            default -> Comparison.ABSENT;
        };
    }

    private static Values.Function view(Map<?, ?> m, Values.View.Kind kind) {
        return given -> {
            given.positional(0, 0);
            return new Values.View(m, kind);
        };
    }
}
