// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/// Python's values and what they do: strings, [Long], [Double], [Boolean], null for None, lists
/// (tuples too), maps, and these.
final class Values {
    private Values() {}

    /// @param what was looked for
    record Undefined(String what) {}

    /// What `namespace()` makes: the one thing that changes.
    static final class Namespace {
        final Map<String, Object> values = new LinkedHashMap<>();
    }

    /// What can be called.
    interface Function {
        Object call(Arguments given);
    }

    static boolean isTrue(Object v) {
        return switch (v) {
            case null -> false;
            case Undefined _ -> false;
            case Boolean b -> b;
            case String s -> !s.isEmpty();
            case Long n -> n != 0;
            case Double d -> d != 0;
            case List<?> l -> !l.isEmpty();
            case Map<?, ?> m -> !m.isEmpty();
            default -> true;
        };
    }

    static String type(Object v) {
        return switch (v) {
            case null -> "None";
            case Undefined u -> u.what() + ", which is undefined,";
            case Boolean _ -> "a boolean";
            case String _ -> "a string";
            case Long _ -> "an integer";
            case Double _ -> "a number";
            case List<?> _ -> "a list";
            case Map<?, ?> _ -> "a mapping";
            case Function _ -> "a function";
            default -> "a namespace";
        };
    }

    static boolean isNumber(Object v) {
        return v instanceof Long || v instanceof Double || v instanceof Boolean;
    }

    /// Null for what is no whole number; true counts as 1, as in Python.
    static Long whole(Object v) {
        return switch (v) {
            case Long n -> n;
            case Boolean b -> b ? 1L : 0L;
            case null, default -> null;
        };
    }

    static double decimal(Object v) {
        return v instanceof Double d ? d : whole(v).doubleValue();
    }

    /// Keys of one value, as 1, 1.0 and true are in Python, are not told apart from others here:
    /// templates have strings for keys.
    static boolean same(Object a, Object b, Budget budget) {
        budget.spend(1);
        if (isNumber(a) && isNumber(b)) {
            return whole(a) != null && whole(b) != null
                    ? whole(a).equals(whole(b))
                    : decimal(a) == decimal(b);
        }
        if (a instanceof List<?> l && b instanceof List<?> r) {
            if (l.size() != r.size()) {
                return false;
            }
            budget.enter();
            boolean same = true;
            for (int i = 0; i < l.size() && same; i++) {
                same = same(l.get(i), r.get(i), budget);
            }
            budget.leave();
            return same;
        }
        if (a instanceof Map<?, ?> l && b instanceof Map<?, ?> r) {
            if (!l.keySet().equals(r.keySet())) {
                return false;
            }
            budget.enter();
            boolean same = l.keySet().stream().allMatch(k -> same(l.get(k), r.get(k), budget));
            budget.leave();
            return same;
        }
        if (a instanceof String s && b instanceof String t) {
            budget.spend(Math.min(s.length(), t.length()) / 8);
            return s.equals(t);
        }
        return a instanceof Undefined && b instanceof Undefined || Objects.equals(a, b);
    }

    static int order(Object a, Object b) {
        if (isNumber(a) && isNumber(b)) {
            return whole(a) != null && whole(b) != null
                    ? whole(a).compareTo(whole(b))
                    : Double.compare(decimal(a), decimal(b));
        }
        if (a instanceof String s && b instanceof String t) {
            return java.util.Arrays.compare(s.codePoints().toArray(), t.codePoints().toArray());
        }
        throw new Refusal("cannot order %s and %s".formatted(type(a), type(b)));
    }

    static boolean contains(Object all, Object one, Budget budget) {
        return switch (all) {
            case String s when one instanceof String part -> {
                budget.spend(s.length() / 8);
                yield s.contains(part);
            }
            case List<?> l -> l.stream().anyMatch(item -> same(item, one, budget));
            case Map<?, ?> m -> m.containsKey(key(one));
            case Undefined _ -> false;
            case null, default ->
                    throw new Refusal("cannot look for %s in %s".formatted(type(one), type(all)));
        };
    }

    /// A key of a mapping: no list or mapping, as in Python, whose hash would also take long.
    static Object key(Object v) {
        if (v instanceof List || v instanceof Map) {
            throw new Refusal(type(v) + " is no key");
        }
        return v;
    }

    /// What a loop over it sees.
    static List<Object> items(Object v, Budget budget) {
        List<Object> items =
                switch (v) {
                    case List<?> l -> new ArrayList<>(l);
                    case Map<?, ?> m -> new ArrayList<>(m.keySet());
                    case String s -> {
                        List<Object> each = new ArrayList<>();
                        s.codePoints().forEach(c -> each.add(Character.toString(c)));
                        yield each;
                    }
                    case Undefined _ -> List.of();
                    case null, default -> throw new Refusal(type(v) + " is no list");
                };
        budget.spend(items.size());
        return items;
    }

    /// Code points of a string, entries of a list or mapping.
    static long length(Object v) {
        return switch (v) {
            case String s -> s.codePointCount(0, s.length());
            case List<?> l -> l.size();
            case Map<?, ?> m -> m.size();
            case Undefined _ -> 0;
            case null, default -> throw new Refusal(type(v) + " has no length");
        };
    }

    /// One entry by key or place; undefined where there is none.
    static Object item(Object of, Object key) {
        return switch (of) {
            case Undefined u -> throw new Refusal(u.what() + " is undefined");
            case Map<?, ?> m when m.containsKey(key(key)) -> m.get(key);
            case Namespace n when n.values.containsKey(key) -> n.values.get(key);
            case List<?> l when key instanceof Long i -> {
                long at = i < 0 ? i + l.size() : i;
                yield at >= 0 && at < l.size() ? l.get((int) at) : new Undefined("item " + i);
            }
            case String s when key instanceof Long i -> {
                long length = length(s);
                long at = i < 0 ? i + length : i;
                yield at >= 0 && at < length
                        ? Character.toString(s.codePointAt(s.offsetByCodePoints(0, (int) at)))
                        : new Undefined("character " + i);
            }
            case null, default -> new Undefined(String.valueOf(key));
        };
    }

    /// `of[from:to:step]`; bounds that are null are left out.
    static Object slice(Object of, Long from, Long to, Long step, Budget budget) {
        if (of instanceof Undefined u) {
            throw new Refusal(u.what() + " is undefined");
        }
        if (!(of instanceof String) && !(of instanceof List)) {
            throw new Refusal("cannot take a part of " + type(of));
        }
        long by = step == null ? 1 : step;
        if (by == 0) {
            throw new Refusal("a slice has the step 0");
        }
        List<Object> items = items(of, budget);
        long size = items.size();
        long least = by > 0 ? 0 : -1;
        long most = by > 0 ? size : size - 1;
        long at =
                from == null
                        ? (by > 0 ? 0 : size - 1)
                        : Math.clamp(from < 0 ? from + size : from, least, most);
        long end =
                to == null
                        ? (by > 0 ? size : -1)
                        : Math.clamp(to < 0 ? to + size : to, least, most);
        List<Object> taken = new ArrayList<>();
        while (by > 0 ? at < end : at > end) {
            taken.add(items.get((int) at));
            if (by > size || -by > size) {
                break;
            }
            at += by;
        }
        return of instanceof String
                ? String.join("", taken.stream().map(String.class::cast).toList())
                : taken;
    }
}
