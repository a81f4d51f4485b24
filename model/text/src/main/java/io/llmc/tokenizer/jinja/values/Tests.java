// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// What stands behind `is`.
public record Tests(Budget budget) {
    private static final Set<String> ALONE =
            Set.of(
                    "odd",
                    "even",
                    "defined",
                    "undefined",
                    "filter",
                    "test",
                    "none",
                    "boolean",
                    "false",
                    "true",
                    "integer",
                    "float",
                    "lower",
                    "upper",
                    "string",
                    "mapping",
                    "number",
                    "sequence",
                    "iterable",
                    "callable",
                    "escaped");

    private static final Set<String> WITH_ONE =
            Set.of(
                    "divisibleby",
                    "sameas",
                    "in",
                    "==",
                    "eq",
                    "equalto",
                    "!=",
                    "ne",
                    ">",
                    "gt",
                    "greaterthan",
                    "ge",
                    ">=",
                    "<",
                    "lt",
                    "lessthan",
                    "<=",
                    "le");

    public static final Set<String> NAMES =
            Stream.of(ALONE, WITH_ONE).flatMap(Set::stream).collect(Collectors.toUnmodifiableSet());

    public boolean holds(String name, Object v, Arguments given) {
        if (!NAMES.contains(name)) {
            throw new Refusal("there is no test " + name);
        }
        given.positional(WITH_ONE.contains(name) ? 1 : 0, WITH_ONE.contains(name) ? 1 : 0);
        Comparison comparison = new Comparison(budget);
        return switch (name) {
            case "defined" -> !(v instanceof Values.Undefined);
            case "undefined" -> v instanceof Values.Undefined;
            case "none" -> v == null;
            case "string" -> Values.string(v) != null;
            case "escaped" -> v instanceof Values.Markup;
            case "number" -> Values.isNumber(v);
            case "integer" -> Values.isWhole(v) && !(v instanceof Boolean);
            case "float" -> v instanceof Double;
            case "boolean" -> v instanceof Boolean;
            case "true" -> Boolean.TRUE.equals(v);
            case "false" -> Boolean.FALSE.equals(v);
            case "mapping" -> v instanceof Map;
            case "iterable" -> Sequences.isIterable(v);
            case "sequence" ->
                    Sequences.isIterable(v)
                            && !(v instanceof Values.View)
                            && !(v instanceof Values.Stream);
            case "callable" -> v instanceof Values.Function || v instanceof Values.Undefined;
            case "filter" -> Filters.NAMES.contains(Arguments.text(v));
            case "test" -> NAMES.contains(Arguments.text(v));
            case "sameas" -> sameAs(v, given.get(0));
            case "odd" -> comparison.same(remainder(v, 2L), 1L);
            case "even" -> comparison.same(remainder(v, 2L), 0L);
            case "divisibleby" -> comparison.same(remainder(v, given.get(0)), 0L);
            case "eq", "equalto", "==" -> comparison.same(v, given.get(0));
            case "ne", "!=" -> !comparison.same(v, given.get(0));
            case "lt", "lessthan", "<" -> comparison.holds("<", v, given.get(0));
            case "le", "<=" -> comparison.holds("<=", v, given.get(0));
            case "gt", "greaterthan", ">" -> comparison.holds(">", v, given.get(0));
            case "ge", ">=" -> comparison.holds(">=", v, given.get(0));
            case "in" -> new Sequences(budget).contains(given.get(0), v);
            case "upper" -> Letters.isCased(Text.of(v, budget), true);
            default -> Letters.isCased(Text.of(v, budget), false);
        };
    }

    private Object remainder(Object v, Object by) {
        return new Arithmetic(budget).apply("%", v, by);
    }

    @SuppressWarnings("ReferenceEquality") // what the test asks for
    private static boolean sameAs(Object a, Object b) {
        boolean compared =
                a == null || a instanceof Boolean || a instanceof List || a instanceof Map;
        if (!compared && !(b == null || b instanceof Boolean)) {
            throw new Refusal("the test sameas of %s is not known here".formatted(Values.type(a)));
        }
        return a instanceof Boolean ? a.equals(b) : a == b;
    }
}
