// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.List;
import java.util.Locale;
import java.util.Map;

/// What stands behind `is`.
record Tests(Budget budget) {
    boolean holds(String name, Object v, Arguments given) {
        return switch (name) {
            case "defined" -> !(v instanceof Values.Undefined);
            case "undefined" -> v instanceof Values.Undefined;
            case "none" -> v == null;
            case "string" -> v instanceof String;
            case "number" -> Values.isNumber(v);
            case "integer" -> v instanceof Long;
            case "float" -> v instanceof Double;
            case "boolean" -> v instanceof Boolean;
            case "true" -> Boolean.TRUE.equals(v);
            case "false" -> Boolean.FALSE.equals(v);
            case "mapping" -> v instanceof Map;
            case "iterable", "sequence" ->
                    v instanceof List
                            || v instanceof Map
                            || v instanceof String
                            || v instanceof Values.Undefined;
            case "callable" -> v instanceof Values.Function;
            case "odd" -> remainder(v, 2) == 1;
            case "even" -> remainder(v, 2) == 0;
            case "divisibleby" -> remainder(v, given.whole(0, "num", 0)) == 0;
            case "eq", "equalto", "==" -> Values.same(v, given.get(0), budget);
            case "ne", "!=" -> !Values.same(v, given.get(0), budget);
            case "lt", "lessthan", "<" -> Values.order(v, given.get(0)) < 0;
            case "le", "<=" -> Values.order(v, given.get(0)) <= 0;
            case "gt", "greaterthan", ">" -> Values.order(v, given.get(0)) > 0;
            case "ge", ">=" -> Values.order(v, given.get(0)) >= 0;
            case "in" -> Values.contains(given.get(0), v, budget);
            case "upper" -> Arguments.text(v).equals(Arguments.text(v).toUpperCase(Locale.ROOT));
            case "lower" -> Arguments.text(v).equals(Arguments.text(v).toLowerCase(Locale.ROOT));
            default -> throw new Refusal("there is no test %s here".formatted(name));
        };
    }

    private static long remainder(Object v, long by) {
        Long n = Values.whole(v);
        if (n == null || by == 0) {
            throw new Refusal("expected a whole number, not " + Values.type(v));
        }
        return Math.floorMod(n, by);
    }
}
