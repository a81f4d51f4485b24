// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// What an expression is worth.
///
/// @param budget of the whole rendering
record Evaluator(Budget budget) {
    Object value(Expr e, Scope scope) {
        budget.spend(1);
        return switch (e) {
            case Expr.Literal l -> l.value();
            case Expr.Name n -> scope.get(n.name());
            case Expr.Attribute a -> attribute(value(a.of(), scope), a.name());
            case Expr.Item i -> {
                Object of = value(i.of(), scope);
                Object key = value(i.key(), scope);
                yield Values.item(of, key) instanceof Values.Undefined u
                        ? key instanceof String name ? attribute(of, name) : u
                        : Values.item(of, key);
            }
            case Expr.Slice s ->
                    Values.slice(
                            value(s.of(), scope),
                            bound(s.from(), scope),
                            bound(s.to(), scope),
                            bound(s.step(), scope),
                            budget);
            case Expr.Call c -> call(c, scope);
            case Expr.Filter f ->
                    new Filters(budget)
                            .apply(f.name(), value(f.of(), scope), given(f.given(), scope));
            case Expr.Test t ->
                    new Tests(budget)
                            .holds(t.name(), value(t.of(), scope), given(t.given(), scope));
            case Expr.Not n -> !Values.isTrue(value(n.of(), scope));
            case Expr.Minus m -> Arithmetic.apply("-", 0L, value(m.of(), scope), budget);
            case Expr.Arithmetic a ->
                    Arithmetic.apply(
                            a.operator(), value(a.left(), scope), value(a.right(), scope), budget);
            case Expr.And a -> {
                Object left = value(a.left(), scope);
                yield Values.isTrue(left) ? value(a.right(), scope) : left;
            }
            case Expr.Or o -> {
                Object left = value(o.left(), scope);
                yield Values.isTrue(left) ? left : value(o.right(), scope);
            }
            case Expr.Compare c -> compare(c, scope);
            case Expr.Conditional c ->
                    Values.isTrue(value(c.condition(), scope))
                            ? value(c.yes(), scope)
                            : c.no() == null
                                    ? new Values.Undefined("the value of an if without else")
                                    : value(c.no(), scope);
            case Expr.Items i -> {
                List<Object> items = new ArrayList<>();
                i.items().forEach(item -> items.add(value(item, scope)));
                yield items;
            }
            case Expr.Pairs p -> {
                Map<Object, Object> pairs = new LinkedHashMap<>();
                p.pairs()
                        .forEach(pair ->
                                pairs.put(
                                        Values.key(value(pair.key(), scope)),
                                        value(pair.value(), scope)));
                yield pairs;
            }
        };
    }

    private Long bound(Expr e, Scope scope) {
        Object v = e == null ? null : value(e, scope);
        if (v != null && Values.whole(v) == null) {
            throw new Refusal("the bound of a slice is " + Values.type(v));
        }
        return v == null ? null : Values.whole(v);
    }

    private static boolean isMethod(Object of, String name) {
        return of instanceof String && StringMethods.NAMES.contains(name)
                || of instanceof Map && DictMethods.NAMES.contains(name);
    }

    private Object attribute(Object of, String name) {
        if (of instanceof Values.Undefined u) {
            throw new Refusal("%s is undefined, so it has no %s".formatted(u.what(), name));
        }
        if (isMethod(of, name)) {
            return of instanceof String s
                    ? (Values.Function) given -> new StringMethods(budget).apply(s, name, given)
                    : (Values.Function)
                            given -> DictMethods.apply((Map<?, ?>) of, name, given, budget);
        }
        return of instanceof List || of instanceof String
                ? new Values.Undefined(name)
                : Values.item(of, name);
    }

    private Object call(Expr.Call c, Scope scope) {
        Object of = value(c.of(), scope);
        if (of instanceof Values.Function f) {
            return f.call(given(c.given(), scope));
        }
        throw new Refusal(
                of instanceof Values.Undefined u
                        ? "there is no function or method %s here".formatted(u.what())
                        : "%s is no function".formatted(Values.type(of)));
    }

    Arguments given(Expr.Given given, Scope scope) {
        List<Object> args = new ArrayList<>();
        given.args().forEach(e -> args.add(value(e, scope)));
        Map<String, Object> named = new LinkedHashMap<>();
        given.named().forEach((name, e) -> named.put(name, value(e, scope)));
        return new Arguments(Collections.unmodifiableList(args), named);
    }

    private boolean compare(Expr.Compare c, Scope scope) {
        Object left = value(c.first(), scope);
        for (Expr.Link link : c.links()) {
            Object right = value(link.right(), scope);
            boolean holds =
                    switch (link.operator()) {
                        case "==" -> Values.same(left, right, budget);
                        case "!=" -> !Values.same(left, right, budget);
                        case "in" -> Values.contains(right, left, budget);
                        case "not in" -> !Values.contains(right, left, budget);
                        case "<" -> Values.order(left, right) < 0;
                        case "<=" -> Values.order(left, right) <= 0;
                        case ">" -> Values.order(left, right) > 0;
                        default -> Values.order(left, right) >= 0;
                    };
            if (!holds) {
                return false;
            }
            left = right;
        }
        return true;
    }
}
