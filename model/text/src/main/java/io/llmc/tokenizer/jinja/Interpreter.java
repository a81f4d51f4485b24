// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.values.Arguments;
import io.llmc.tokenizer.jinja.values.Arithmetic;
import io.llmc.tokenizer.jinja.values.Attributes;
import io.llmc.tokenizer.jinja.values.Budget;
import io.llmc.tokenizer.jinja.values.Comparison;
import io.llmc.tokenizer.jinja.values.Filters;
import io.llmc.tokenizer.jinja.values.Refusal;
import io.llmc.tokenizer.jinja.values.Sequences;
import io.llmc.tokenizer.jinja.values.Tests;
import io.llmc.tokenizer.jinja.values.Values;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// What an expression is worth.
///
/// @param budget of the whole rendering
record Interpreter(Budget budget) {
    Object value(Expr e, Scope scope) {
        budget.spend(1);
        return switch (e) {
            case Expr.Literal l -> l.value();
            case Expr.Name n -> scope.get(n.name());
            case Expr.Attribute a -> new Attributes(budget).orItem(value(a.of(), scope), a.name());
            case Expr.Item i ->
                    new Attributes(budget).itemOr(value(i.of(), scope), value(i.key(), scope));
            case Expr.Slice s ->
                    new Sequences(budget)
                            .slice(
                                    value(s.of(), scope),
                                    bound(s.from(), scope),
                                    bound(s.to(), scope),
                                    bound(s.step(), scope));
            case Expr.Call c -> call(value(c.of(), scope), given(c.given(), scope));
            case Expr.Filter f ->
                    new Filters(budget)
                            .apply(f.name(), value(f.of(), scope), given(f.given(), scope));
            case Expr.Test t ->
                    new Tests(budget)
                            .holds(t.name(), value(t.of(), scope), given(t.given(), scope));
            case Expr.Not n -> !Values.isTrue(value(n.of(), scope));
            case Expr.Minus m -> new Arithmetic(budget).negative(value(m.of(), scope));
            case Expr.Plus p -> new Arithmetic(budget).positive(value(p.of(), scope));
            case Expr.Arithmetic a ->
                    new Arithmetic(budget)
                            .apply(a.operator(), value(a.left(), scope), value(a.right(), scope));
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
                yield i.tuple() ? new Values.Tuple(items, false) : items;
            }
            case Expr.Pairs p -> {
                Map<Object, Object> pairs = new LinkedHashMap<>();
                Comparison comparison = new Comparison(budget);
                for (Expr.Pair pair : p.pairs()) {
                    Object key = value(pair.key(), scope);
                    comparison.put(pairs, key, value(pair.value(), scope));
                }
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

    Object call(Object of, Arguments given) {
        if (of instanceof Values.Function f) {
            return f.call(given);
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
        if (given.more() != null) {
            args.addAll(new Sequences(budget).items(value(given.more(), scope)));
        }
        if (given.moreNamed() != null) {
            if (!(value(given.moreNamed(), scope) instanceof Map<?, ?> more)) {
                throw new Refusal("what stands behind ** is no mapping");
            }
            for (Map.Entry<?, ?> e : more.entrySet()) {
                if (named.put(Arguments.text(e.getKey()), e.getValue()) != null) {
                    throw new Refusal("two arguments " + e.getKey());
                }
            }
        }
        return new Arguments(args, named);
    }

    private boolean compare(Expr.Compare c, Scope scope) {
        Comparison comparison = new Comparison(budget);
        Sequences sequences = new Sequences(budget);
        Object left = value(c.first(), scope);
        for (Expr.Link link : c.links()) {
            Object right = value(link.right(), scope);
            boolean holds =
                    switch (link.operator()) {
                        case "==" -> comparison.same(left, right);
                        case "!=" -> !comparison.same(left, right);
                        case "in" -> sequences.contains(right, left);
                        case "not in" -> !sequences.contains(right, left);
                        default -> comparison.holds(link.operator(), left, right);
                    };
            if (!holds) {
                return false;
            }
            left = right;
        }
        return true;
    }
}
