// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

/// What has items: loops over it, its length, its parts.
public record Sequences(Budget budget) {
    /// What a loop over it sees.
    ///
    /// @throws Refusal where nothing can run over it
    public Iterator<Object> iterator(Object v) {
        if (v instanceof Values.Stream s) {
            return s.iterator();
        }
        return items(v).iterator();
    }

    static boolean isIterable(Object v) {
        return switch (v) {
            case List<?> _,
                    Map<?, ?> _,
                    String _,
                    Values.Markup _,
                    Values.Tuple _,
                    Values.Range _,
                    Values.View _,
                    Values.Stream _,
                    Values.Undefined _ ->
                    true;
            case null, default -> false;
        };
    }

    /// All items, as a list of its own.
    public List<Object> items(Object v) {
        List<Object> items =
                switch (v) {
                    case List<?> l -> copy(l);
                    case Values.Tuple t -> copy(t.items());
                    case Values.Range r -> copy(r.items());
                    case Map<?, ?> m -> copy(m.keySet());
                    case Values.View w ->
                            switch (w.kind()) {
                                case KEYS -> copy(w.of().keySet());
                                case VALUES -> copy(w.of().values());
                                case ITEMS -> pairs(w.of());
                            };
                    case String s -> characters(s);
                    case Values.Markup m -> characters(m.text());
                    case Values.Stream s -> {
                        List<Object> all = new ArrayList<>();
                        while (s.iterator().hasNext()) {
                            budget.spend(1);
                            all.add(s.iterator().next());
                        }
                        yield all;
                    }
                    case Values.Undefined _ -> new ArrayList<>();
                    case null, default -> throw new Refusal(Values.type(v) + " is no list");
                };
        budget.spend(items.size());
        return items;
    }

    private List<Object> copy(java.util.Collection<?> of) {
        budget.spend(of.size());
        return new ArrayList<>(of);
    }

    private List<Object> characters(String s) {
        budget.spend(s.length());
        List<Object> each = new ArrayList<>();
        s.codePoints().forEach(c -> each.add(Character.toString(c)));
        return each;
    }

    /// The items of a mapping as tuples.
    public List<Object> pairs(Map<?, ?> m) {
        budget.spend(m.size());
        List<Object> pairs = new ArrayList<>();
        m.forEach((k, v) -> pairs.add(Values.Tuple.of(k, v)));
        return pairs;
    }

    /// Code points of a string, entries of a list or mapping.
    long length(Object v) {
        return switch (v) {
            case String s -> s.codePointCount(0, s.length());
            case Values.Markup m -> m.text().codePointCount(0, m.text().length());
            case List<?> l -> l.size();
            case Values.Tuple t -> t.items().size();
            case Values.Range r -> r.items().size();
            case Map<?, ?> m -> m.size();
            case Values.View w -> w.of().size();
            case Values.Undefined _ -> 0;
            case null, default -> throw new Refusal(Values.type(v) + " has no length");
        };
    }

    public boolean contains(Object all, Object one) {
        Comparison comparison = new Comparison(budget);
        return switch (all) {
            case Map<?, ?> m -> !Comparison.ABSENT.equals(comparison.find(m, one));
            case Values.View w when w.kind() == Values.View.Kind.KEYS -> contains(w.of(), one);
            case String s -> {
                budget.spend(s.length() / 8);
                yield s.contains(Arguments.text(one));
            }
            case Values.Markup m -> contains(m.text(), one);
            case null, default -> {
                if (!isIterable(all)) {
                    throw new Refusal(
                            "cannot look for %s in %s"
                                    .formatted(Values.type(one), Values.type(all)));
                }
                Iterator<Object> items = iterator(all);
                boolean found = false;
                while (!found && items.hasNext()) {
                    found = comparison.same(items.next(), one);
                }
                yield found;
            }
        };
    }

    /// Python's `of[key]`; undefined where there is none.
    Object item(Object of, Object key) {
        return switch (of) {
            case Values.Undefined u -> throw new Refusal(u.what() + " is undefined");
            case Map<?, ?> m -> {
                boolean hashed = !(key instanceof List || key instanceof Map);
                Object found = hashed ? new Comparison(budget).find(m, key) : Comparison.ABSENT;
                yield Comparison.ABSENT.equals(found)
                        ? new Values.Undefined(name(key))
                        : m.get(found);
            }
            case List<?> l -> at(l, key);
            case Values.Tuple t -> at(t.items(), key);
            case Values.Range r -> at(r.items(), key);
            case String s -> character(s, key);
            case Values.Markup m -> character(m.text(), key);
            case null, default -> new Values.Undefined(name(key));
        };
    }

    private static String name(Object key) {
        return key instanceof String s ? s : Values.type(key) + " as a key";
    }

    private static Object at(List<?> l, Object key) {
        Long i = Values.whole(key);
        long at = i == null ? -1 : i < 0 ? i + l.size() : i;
        return at >= 0 && at < l.size()
                ? l.get((int) at)
                : new Values.Undefined(i == null ? name(key) : "item " + i);
    }

    private Object character(String s, Object key) {
        Long i = Values.whole(key);
        if (i == null) {
            return new Values.Undefined(name(key));
        }
        budget.spend(s.length() / 64);
        long length = s.codePointCount(0, s.length());
        long at = i < 0 ? i + length : i;
        return at >= 0 && at < length
                ? Character.toString(s.codePointAt(s.offsetByCodePoints(0, (int) at)))
                : new Values.Undefined("character " + i);
    }

    /// `of[from:to:step]`; bounds that are null are left out.
    public Object slice(Object of, Long from, Long to, Long step) {
        boolean sliced =
                Values.string(of) != null
                        || of instanceof List
                        || of instanceof Values.Tuple
                        || of instanceof Values.Range;
        if (!sliced) {
            throw new Refusal("cannot take a part of " + Values.type(of));
        }
        long by = step == null ? 1 : step;
        if (by == 0) {
            throw new Refusal("a slice has the step 0");
        }
        List<Object> items = items(of);
        long size = items.size();
        long least = by > 0 ? 0 : -1;
        long most = by > 0 ? size : size - 1;
        long first = bound(from, by > 0 ? 0 : size - 1, size, least, most);
        long end = bound(to, by > 0 ? size : -1, size, least, most);
        List<Object> taken = new ArrayList<>();
        for (long at = first; by > 0 ? at < end : at > end; at += by) {
            taken.add(items.get((int) at));
            if (by > size || -by > size) {
                break;
            }
        }
        return switch (of) {
            case List<?> _ -> taken;
            case Values.Tuple _ -> new Values.Tuple(taken, false);
            case Values.Range r ->
                    new Values.Range(
                            r.start() + first * r.step(),
                            r.start() + end * r.step(),
                            Math.multiplyExact(r.step(), by),
                            taken);
            default -> {
                String text = String.join("", taken.stream().map(String.class::cast).toList());
                yield of instanceof Values.Markup ? new Values.Markup(text) : text;
            }
        };
    }

    private static long bound(Long given, long absent, long size, long least, long most) {
        return given == null
                ? absent
                : Math.clamp(
                        given < 0 ? Math.max(given, Long.MIN_VALUE / 2) + size : given,
                        least,
                        most);
    }

    /// The items from the last to the first, for what can be run through backwards.
    List<Object> backwards(Object v) {
        if (v instanceof Values.Stream) {
            throw new Refusal("a generator cannot be run through backwards");
        }
        List<Object> items = items(v);
        Collections.reverse(items);
        return items;
    }

    /// `range(...)`, at most as long as Jinja's sandbox lets it be.
    public Values.Range range(Arguments given) {
        given.positional(1, 3);
        long start = given.args().size() > 1 ? given.whole(0, "", 0) : 0;
        long stop = given.whole(given.args().size() > 1 ? 1 : 0, "", 0);
        long step = given.whole(2, "", 1);
        if (step == 0) {
            throw new Refusal("range has the step 0");
        }
        List<Object> all = new ArrayList<>();
        for (long i = start; step > 0 ? i < stop : i > stop; i += step) {
            budget.spend(8);
            all.add(i);
            if (all.size() > MOST_IN_RANGE) {
                throw new Refusal("a range is longer than %,d".formatted(MOST_IN_RANGE));
            }
            if (step > 0 ? i > Long.MAX_VALUE - step : i < Long.MIN_VALUE - step) {
                break;
            }
        }
        return new Values.Range(start, stop, step, all);
    }

    private static final int MOST_IN_RANGE = 100_000;
}
