// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.UnaryOperator;

/// The filters that compare items, or what an attribute leads to. Without `case_sensitive` letters
/// are small ones to them.
record OrderFilters(Budget budget, Attributes attributes) {
    OrderFilters(Budget budget) {
        this(budget, new Attributes(budget));
    }

    List<Object> sort(Object v, Arguments given) {
        UnaryOperator<Object> key =
                keys(given.get(2, "attribute", null), given.flag(1, "case_sensitive"));
        return sorted(new Sequences(budget).items(v), key, given.flag(0, "reverse"));
    }

    List<Object> sortedPairs(Object v, Arguments given) {
        if (!(v instanceof Map<?, ?> m)) {
            throw new Refusal("expected a mapping, not " + Values.type(v));
        }
        String by = Arguments.text(given.get(1, "by", "key"));
        if (!by.equals("key") && !by.equals("value")) {
            throw new Refusal("dictsort knows key and value, not " + by);
        }
        boolean exact = given.flag(0, "case_sensitive");
        int place = by.equals("key") ? 0 : 1;
        return sorted(
                new Sequences(budget).pairs(m),
                pair -> {
                    Object key = ((Values.Tuple) pair).items().get(place);
                    return exact ? key : folded(key);
                },
                given.flag(2, "reverse"));
    }

    private List<Object> sorted(List<Object> items, UnaryOperator<Object> key, boolean down) {
        Comparison comparison = new Comparison(budget);
        record Keyed(Object key, Object item) {}
        List<Keyed> keyed = new ArrayList<>();
        items.forEach(item -> keyed.add(new Keyed(key.apply(item), item)));
        Comparator<Keyed> order = (a, b) -> comparison.order(a.key(), b.key());
        try {
            keyed.sort(down ? order.reversed() : order);
        } catch (IllegalArgumentException e) {
            throw new Refusal("these items have no order");
        }
        List<Object> sorted = new ArrayList<>();
        keyed.forEach(k -> sorted.add(k.item()));
        return sorted;
    }

    private static Object folded(Object v) {
        String s = Values.string(v);
        return s == null ? v : s.toLowerCase(Locale.ROOT);
    }

    /// A list of what several paths with commas lead to.
    private UnaryOperator<Object> keys(Object paths, boolean exact) {
        return item -> {
            List<Object> all = new ArrayList<>();
            for (Object path :
                    paths instanceof String s ? s.split(",", -1) : new Object[] {paths}) {
                Object at = path == null ? item : attributes.path(item, path);
                all.add(exact ? at : folded(at));
            }
            return all;
        };
    }

    private UnaryOperator<Object> key(Object path, boolean exact) {
        return item -> {
            Object at = path == null ? item : attributes.path(item, path);
            return exact ? at : folded(at);
        };
    }

    Values.Stream unique(Object v, Arguments given) {
        UnaryOperator<Object> key =
                key(given.get(1, "attribute", null), given.flag(0, "case_sensitive"));
        Comparison comparison = new Comparison(budget);
        Map<Object, Object> seen = new HashMap<>();
        return new Generators(budget)
                .later(
                        () -> new Sequences(budget).iterator(v),
                        items -> {
                            while (items.hasNext()) {
                                budget.spend(1);
                                Object item = items.next();
                                Object k = key.apply(item);
                                if (Comparison.ABSENT.equals(comparison.find(seen, k))) {
                                    comparison.put(seen, k, true);
                                    return item;
                                }
                            }
                            return Generators.END;
                        });
    }

    Object extreme(Object v, Arguments given, boolean least) {
        UnaryOperator<Object> key =
                key(given.get(1, "attribute", null), given.flag(0, "case_sensitive"));
        Comparison comparison = new Comparison(budget);
        List<Object> items = new Sequences(budget).items(v);
        if (items.isEmpty()) {
            return new Values.Undefined("the least or greatest of nothing");
        }
        Object best = items.getFirst();
        for (Object item : items.subList(1, items.size())) {
            if (comparison.holds(least ? "<" : ">", key.apply(item), key.apply(best))) {
                best = item;
            }
        }
        return best;
    }

    List<Object> groups(Object v, Arguments given) {
        Object attribute = given.get(0, "attribute", null);
        Object absent = given.get(1, "default", null);
        boolean exact = given.flag(2, "case_sensitive");
        UnaryOperator<Object> real =
                item -> {
                    Object at = attributes.path(item, attribute);
                    return absent != null && at instanceof Values.Undefined ? absent : at;
                };
        UnaryOperator<Object> key = item -> exact ? real.apply(item) : folded(real.apply(item));
        Comparison comparison = new Comparison(budget);
        List<Object> groups = new ArrayList<>();
        List<Object> group = new ArrayList<>();
        for (Object item : sorted(new Sequences(budget).items(v), key, false)) {
            if (group.isEmpty() || !comparison.same(key.apply(group.getFirst()), key.apply(item))) {
                group = new ArrayList<>();
                groups.add(new Values.Tuple(Arrays.asList(real.apply(item), group), true));
            }
            group.add(item);
        }
        return groups;
    }
}
