// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;

/// The filters over the items of a value. Those that are generators in Jinja do nothing until
/// something runs over them.
record ItemFilters(Budget budget, Filters filters) {
    /// What a generator ends with.
    private static final Object END = new Object();

    Object apply(String name, Object v, Arguments given) {
        Sequences sequences = new Sequences(budget);
        return switch (name) {
            case "first" -> {
                Iterator<Object> items = sequences.iterator(plain(v, given));
                yield items.hasNext() ? items.next() : new Values.Undefined("the first of nothing");
            }
            case "last" -> {
                List<Object> items = sequences.backwards(plain(v, given));
                yield items.isEmpty()
                        ? new Values.Undefined("the last of nothing")
                        : items.getFirst();
            }
            case "list" -> sequences.items(plain(v, given));
            case "reverse" -> reversed(plain(v, given));
            case "join" -> join(v, given.named(0, "d", "attribute"));
            case "items" -> pairs(plain(v, given));
            case "dictsort" -> sortedPairs(v, given.named(0, "case_sensitive", "by", "reverse"));
            case "sort" -> {
                given.named(0, "reverse", "case_sensitive", "attribute");
                UnaryOperator<Object> key =
                        keys(given.get(2, "attribute", null), given.flag(1, "case_sensitive"));
                yield sorted(sequences.items(v), key, given.flag(0, "reverse"));
            }
            case "unique" -> unique(v, given.named(0, "case_sensitive", "attribute"));
            case "min", "max" ->
                    extreme(v, given.named(0, "case_sensitive", "attribute"), name.equals("min"));
            case "sum" -> sum(v, given.named(0, "attribute", "start"));
            case "groupby" -> groups(v, given.named(1, "attribute", "default", "case_sensitive"));
            case "batch" -> batches(v, given.named(1, "linecount", "fill_with"));
            case "slice" -> slices(v, given.named(1, "slices", "fill_with"));
            case "map" -> map(v, given);
            case "select" -> select(v, given, 0, true);
            case "reject" -> select(v, given, 0, false);
            case "selectattr" -> select(v, given, 1, true);
            case "rejectattr" -> select(v, given, 1, false);
            default ->
                    throw new Refusal(
                            Filters.NAMES.contains(name)
                                    ? "the filter %s is not known here".formatted(name)
                                    : "there is no filter " + name);
        };
    }

    private static Object plain(Object v, Arguments given) {
        given.positional(0, 0);
        return v;
    }

    /// A generator of what a supplier gives until [#END]; each item costs a step.
    private Values.Stream stream(Supplier<Object> supplier) {
        return new Values.Stream(
                new Iterator<>() {
                    private Object ahead;
                    private boolean looked;

                    @Override
                    public boolean hasNext() {
                        if (!looked) {
                            budget.spend(1);
                            ahead = supplier.get();
                            looked = true;
                        }
                        return ahead != END;
                    }

                    @Override
                    public Object next() {
                        if (!hasNext()) {
                            throw new NoSuchElementException();
                        }
                        looked = false;
                        return ahead;
                    }
                });
    }

    /// A generator over items that are found when the first is wanted.
    private Values.Stream later(Supplier<Iterator<Object>> items) {
        Object[] iterator = new Object[1];
        return stream(() -> {
            if (iterator[0] == null) {
                iterator[0] = items.get();
            }
            Iterator<?> all = (Iterator<?>) iterator[0];
            return all.hasNext() ? all.next() : END;
        });
    }

    private Object reversed(Object v) {
        String s = Values.string(v);
        if (s != null) {
            String back = (String) new Sequences(budget).slice(s, null, null, -1L);
            return v instanceof Values.Markup ? new Values.Markup(back) : back;
        }
        List<Object> items = new Sequences(budget).items(v);
        Collections.reverse(items);
        return v instanceof Values.Stream ? items : new Values.Stream(items.iterator());
    }

    private String join(Object v, Arguments given) {
        Object attribute = given.get(1, "attribute", null);
        List<Object> texts = new ArrayList<>();
        for (Object item : new Sequences(budget).items(v)) {
            texts.add(filters.text(attribute == null ? item : path(item, attribute)));
        }
        return new StringMethods(budget).join(texts, filters.text(given.get(0, "d", "")));
    }

    private Values.Stream pairs(Object v) {
        return later(() -> {
            if (v instanceof Map<?, ?> m) {
                return new Sequences(budget).pairs(m).iterator();
            }
            if (v instanceof Values.Undefined) {
                return Collections.emptyIterator();
            }
            throw new Refusal("%s has no items, expected a mapping".formatted(Values.type(v)));
        });
    }

    private List<Object> sortedPairs(Object v, Arguments given) {
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

    /// Jinja sorts without regard to case.
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
                Object at = path == null ? item : path(item, path);
                all.add(exact ? at : folded(at));
            }
            return all;
        };
    }

    private UnaryOperator<Object> key(Object path, boolean exact) {
        return item -> {
            Object at = path == null ? item : path(item, path);
            return exact ? at : folded(at);
        };
    }

    /// `a.b.0` of an item.
    private Object path(Object item, Object path) {
        Attributes attributes = new Attributes(budget);
        if (!(path instanceof String names)) {
            return attributes.itemOr(item, path);
        }
        Object at = item;
        for (String name : names.split("\\.", -1)) {
            boolean place =
                    !name.isEmpty()
                            && name.length() < 10
                            && name.chars().allMatch(Character::isDigit);
            at = attributes.itemOr(at, place ? (Object) Long.valueOf(name) : name);
        }
        return at;
    }

    private Values.Stream unique(Object v, Arguments given) {
        UnaryOperator<Object> key =
                key(given.get(1, "attribute", null), given.flag(0, "case_sensitive"));
        Comparison comparison = new Comparison(budget);
        Map<Object, Object> seen = new HashMap<>();
        Iterator<Object>[] items = iterator();
        return stream(() -> {
            if (items[0] == null) {
                items[0] = new Sequences(budget).iterator(v);
            }
            while (items[0].hasNext()) {
                budget.spend(1);
                Object item = items[0].next();
                Object k = key.apply(item);
                if (Comparison.ABSENT.equals(comparison.find(seen, k))) {
                    comparison.put(seen, k, true);
                    return item;
                }
            }
            return END;
        });
    }

    @SuppressWarnings("unchecked") // an empty place
    private static Iterator<Object>[] iterator() {
        return (Iterator<Object>[]) new Iterator<?>[1];
    }

    private Object extreme(Object v, Arguments given, boolean least) {
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

    private Object sum(Object v, Arguments given) {
        Object attribute = given.get(0, "attribute", null);
        Object sum = given.get(1, "start", 0L);
        if (Values.string(sum) != null) {
            throw new Refusal("strings are joined, not summed");
        }
        for (Object item : new Sequences(budget).items(v)) {
            Object at = attribute == null ? item : path(item, attribute);
            sum = new Arithmetic(budget).apply("+", sum, at);
        }
        return sum;
    }

    private List<Object> groups(Object v, Arguments given) {
        Object attribute = given.get(0, "attribute", null);
        Object absent = given.get(1, "default", null);
        boolean exact = given.flag(2, "case_sensitive");
        UnaryOperator<Object> real =
                item -> {
                    Object at = path(item, attribute);
                    return absent != null && at instanceof Values.Undefined ? absent : at;
                };
        UnaryOperator<Object> key = item -> exact ? real.apply(item) : folded(real.apply(item));
        Comparison comparison = new Comparison(budget);
        List<Object> groups = new ArrayList<>();
        List<Object> group = new ArrayList<>();
        for (Object item : sorted(new Sequences(budget).items(v), key, false)) {
            if (group.isEmpty() || !comparison.same(key.apply(group.getFirst()), key.apply(item))) {
                group = new ArrayList<>();
                groups.add(
                        new Values.Tuple(java.util.Arrays.asList(real.apply(item), group), true));
            }
            group.add(item);
        }
        return groups;
    }

    private Values.Stream batches(Object v, Arguments given) {
        long size = given.whole(0, "linecount", 0);
        Object fill = given.get(1, "fill_with", null);
        return later(() -> {
            List<Object> batches = new ArrayList<>();
            List<Object> batch = new ArrayList<>();
            for (Object item : new Sequences(budget).items(v)) {
                if (batch.size() == size) {
                    batches.add(batch);
                    batch = new ArrayList<>();
                }
                batch.add(item);
            }
            if (!batch.isEmpty()) {
                while (fill != null && batch.size() < size) {
                    budget.spend(1);
                    batch.add(fill);
                }
                batches.add(batch);
            }
            return batches.iterator();
        });
    }

    private Values.Stream slices(Object v, Arguments given) {
        long count = given.whole(0, "slices", 0);
        Object fill = given.get(1, "fill_with", null);
        return later(() -> {
            List<Object> items = new Sequences(budget).items(v);
            if (count <= 0) {
                throw new Refusal("slice wants a number of slices");
            }
            budget.spend(count);
            List<Object> slices = new ArrayList<>();
            long each = items.size() / count;
            long more = items.size() % count;
            int from = 0;
            for (long i = 0; i < count; i++) {
                int to = (int) (from + each + (i < more ? 1 : 0));
                List<Object> slice = new ArrayList<>(items.subList(from, to));
                if (fill != null && i >= more) {
                    slice.add(fill);
                }
                slices.add(slice);
                from = to;
            }
            return slices.iterator();
        });
    }

    private Values.Stream map(Object v, Arguments given) {
        Iterator<Object>[] items = iterator();
        return stream(() -> {
            if (!Values.isTrue(v)) {
                return END;
            }
            if (items[0] == null) {
                items[0] = new Sequences(budget).iterator(v);
            }
            return items[0].hasNext() ? mapped(items[0].next(), given) : END;
        });
    }

    private Object mapped(Object item, Arguments given) {
        if (!given.args().isEmpty() || !given.named().containsKey("attribute")) {
            return filters.apply(given.text(0), item, given.from(1));
        }
        for (String name : given.named().keySet()) {
            if (!name.equals("attribute") && !name.equals("default")) {
                throw new Refusal("map has no argument " + name);
            }
        }
        Object absent = given.named().get("default");
        Object at = item;
        Object path = given.named().get("attribute");
        if (absent == null || !(path instanceof String s)) {
            at = path(at, path);
            return at instanceof Values.Undefined && absent != null ? absent : at;
        }
        for (String name : s.split("\\.", -1)) {
            at = path(at, name);
            at = at instanceof Values.Undefined ? absent : at;
        }
        return at;
    }

    /// @param attributes 1 where the first argument names an attribute, else 0
    private Values.Stream select(Object v, Arguments given, int attributes, boolean keep) {
        Iterator<Object>[] items = iterator();
        return stream(() -> {
            if (!Values.isTrue(v)) {
                return END;
            }
            if (items[0] == null) {
                items[0] = new Sequences(budget).iterator(v);
            }
            while (items[0].hasNext()) {
                budget.spend(1);
                Object item = items[0].next();
                Object tested = attributes == 0 ? item : path(item, given.get(0));
                boolean holds =
                        given.args().size() > attributes
                                ? new Tests(budget)
                                        .holds(
                                                given.text(attributes),
                                                tested,
                                                given.from(attributes + 1))
                                : Values.isTrue(tested);
                if (holds == keep) {
                    return item;
                }
            }
            return END;
        });
    }
}
