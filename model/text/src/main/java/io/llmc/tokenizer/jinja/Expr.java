// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// An expression.
sealed interface Expr {
    record Literal(Object value) implements Expr {}

    record Name(String name) implements Expr {}

    record Attribute(Expr of, String name) implements Expr {}

    record Item(Expr of, Expr key) implements Expr {}

    /// Bounds that are left out are null.
    record Slice(Expr of, Expr from, Expr to, Expr step) implements Expr {}

    /// @param more `*more`, or null
    /// @param moreNamed `**moreNamed`, or null
    record Given(List<Expr> args, SequencedMap<String, Expr> named, Expr more, Expr moreNamed) {
        static final Given NOTHING = of(List.of());

        static Given of(List<Expr> args) {
            return new Given(args, new LinkedHashMap<>(), null, null);
        }
    }

    record Call(Expr of, Given given) implements Expr {}

    record Filter(Expr of, String name, Given given) implements Expr {}

    record Test(Expr of, String name, Given given) implements Expr {}

    record Not(Expr of) implements Expr {}

    record Minus(Expr of) implements Expr {}

    record Plus(Expr of) implements Expr {}

    record Arithmetic(String operator, Expr left, Expr right) implements Expr {}

    record And(Expr left, Expr right) implements Expr {}

    record Or(Expr left, Expr right) implements Expr {}

    /// `first a b c d`: `first a b and b c d`.
    record Compare(Expr first, List<Link> links) implements Expr {}

    record Link(String operator, Expr right) {}

    /// @param no null where there is no else
    record Conditional(Expr condition, Expr yes, Expr no) implements Expr {}

    /// A list or a tuple.
    record Items(List<Expr> items, boolean tuple) implements Expr {}

    record Pair(Expr key, Expr value) {}

    record Pairs(List<Pair> pairs) implements Expr {}
}
