// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.List;

/// `+ - * / // % ** ~`, as Python has them.
final class Arithmetic {
    private Arithmetic() {}

    static Object apply(String operator, Object a, Object b, Budget budget) {
        if (operator.equals("~")) {
            return joined(Text.of(a, budget), Text.of(b, budget), budget);
        }
        if (operator.equals("+") && a instanceof String s && b instanceof String t) {
            return joined(s, t, budget);
        }
        if (operator.equals("+") && a instanceof List<?> l && b instanceof List<?> r) {
            budget.spend((long) l.size() + r.size());
            List<Object> both = new ArrayList<>(l);
            both.addAll(r);
            return both;
        }
        if (operator.equals("*") && a instanceof String s && Values.whole(b) != null) {
            return repeated(s, Values.whole(b), budget);
        }
        if (operator.equals("*") && b instanceof String s && Values.whole(a) != null) {
            return repeated(s, Values.whole(a), budget);
        }
        if (Values.isNumber(a) && Values.isNumber(b)) {
            return numbers(operator, a, b);
        }
        throw new Refusal(
                "cannot compute %s %s %s".formatted(Values.type(a), operator, Values.type(b)));
    }

    private static String joined(String a, String b, Budget budget) {
        budget.spend((long) a.length() + b.length());
        return a + b;
    }

    private static String repeated(String s, long times, Budget budget) {
        long count = Math.max(0, times);
        if (s.isEmpty() || count == 0) {
            return "";
        }
        budget.spend(Math.clamp(count, 0, 1L << 31) * s.length());
        return s.repeat((int) count);
    }

    private static Object numbers(String operator, Object a, Object b) {
        Long m = Values.whole(a);
        Long n = Values.whole(b);
        boolean whole = m != null && n != null;
        double x = Values.decimal(a);
        double y = Values.decimal(b);
        if (y == 0 && List.of("/", "//", "%").contains(operator)) {
            throw new Refusal("division by zero");
        }
        try {
            return switch (operator) {
                case "+" -> whole ? (Object) Math.addExact(m, n) : (Object) (x + y);
                case "-" -> whole ? (Object) Math.subtractExact(m, n) : (Object) (x - y);
                case "*" -> whole ? (Object) Math.multiplyExact(m, n) : (Object) (x * y);
                case "/" -> x / y;
                case "//" -> whole ? (Object) Math.floorDiv(m, n) : (Object) Math.floor(x / y);
                case "%" ->
                        whole ? (Object) Math.floorMod(m, n) : (Object) (x - y * Math.floor(x / y));
                default ->
                        whole && n >= 0
                                ? (Object) Math.powExact(m, Math.toIntExact(n))
                                : (Object) Math.pow(x, y);
            };
        } catch (ArithmeticException e) {
            throw new Refusal("a whole number is too large");
        }
    }
}
