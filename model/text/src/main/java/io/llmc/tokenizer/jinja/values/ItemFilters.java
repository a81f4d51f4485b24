// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/// The filters over the items of a value. Those that are generators in Jinja do nothing until
/// something runs over them.
record ItemFilters(Budget budget, Filters filters) {
    Object apply(String name, Object v, Arguments given) {
        Sequences sequences = new Sequences(budget);
        OrderFilters order = new OrderFilters(budget);
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
            case "dictsort" ->
                    order.sortedPairs(v, given.named(0, "case_sensitive", "by", "reverse"));
            case "sort" -> order.sort(v, given.named(0, "reverse", "case_sensitive", "attribute"));
            case "unique" -> order.unique(v, given.named(0, "case_sensitive", "attribute"));
            case "min", "max" ->
                    order.extreme(
                            v, given.named(0, "case_sensitive", "attribute"), name.equals("min"));
            case "sum" -> sum(v, given.named(0, "attribute", "start"));
            case "groupby" ->
                    order.groups(v, given.named(1, "attribute", "default", "case_sensitive"));
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
            texts.add(filters.text(attribute == null ? item : attributes().path(item, attribute)));
        }
        return new StringMethods(budget).join(texts, filters.text(given.get(0, "d", "")));
    }

    private Values.Stream pairs(Object v) {
        return new Generators(budget)
                .later(() -> {
                    if (v instanceof Map<?, ?> m) {
                        return new Sequences(budget).pairs(m).iterator();
                    }
                    if (v instanceof Values.Undefined) {
                        return Collections.emptyIterator();
                    }
                    throw new Refusal(
                            "%s has no items, expected a mapping".formatted(Values.type(v)));
                });
    }

    private Object sum(Object v, Arguments given) {
        Object attribute = given.get(0, "attribute", null);
        Object sum = given.get(1, "start", 0L);
        if (Values.string(sum) != null) {
            throw new Refusal("strings are joined, not summed");
        }
        for (Object item : new Sequences(budget).items(v)) {
            Object at = attribute == null ? item : attributes().path(item, attribute);
            sum = new Arithmetic(budget).apply("+", sum, at);
        }
        return sum;
    }

    private Values.Stream batches(Object v, Arguments given) {
        long size = given.whole(0, "linecount", 0);
        Object fill = given.get(1, "fill_with", null);
        return new Generators(budget)
                .later(() -> {
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
        return new Generators(budget)
                .later(() -> {
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
        return over(v, items -> items.hasNext() ? mapped(items.next(), given) : Generators.END);
    }

    /// Over the items of a value; of one that is false, as what is undefined, there are none.
    private Values.Stream over(Object v, Function<Iterator<Object>, Object> next) {
        return new Generators(budget)
                .later(
                        () ->
                                Values.isTrue(v)
                                        ? new Sequences(budget).iterator(v)
                                        : Collections.emptyIterator(),
                        next);
    }

    private Attributes attributes() {
        return new Attributes(budget);
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
            at = attributes().path(at, path);
            return at instanceof Values.Undefined && absent != null ? absent : at;
        }
        for (String name : s.split("\\.", -1)) {
            at = attributes().path(at, name);
            at = at instanceof Values.Undefined ? absent : at;
        }
        return at;
    }

    /// @param attributes 1 where the first argument names an attribute, else 0
    private Values.Stream select(Object v, Arguments given, int attributes, boolean keep) {
        return over(
                v,
                items -> {
                    while (items.hasNext()) {
                        budget.spend(1);
                        Object item = items.next();
                        Object tested =
                                attributes == 0 ? item : attributes().path(item, given.get(0));
                        if (holds(tested, given.from(attributes)) == keep) {
                            return item;
                        }
                    }
                    return Generators.END;
                });
    }

    /// @param test its name and its arguments; empty for the value's own truth
    private boolean holds(Object tested, Arguments test) {
        return test.args().isEmpty()
                ? Values.isTrue(tested)
                : new Tests(budget).holds(test.text(0), tested, test.from(1));
    }
}
