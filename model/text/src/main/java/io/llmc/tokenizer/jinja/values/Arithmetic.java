// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.List;

/// `+ - * / // % ** ~`, as Python has them.
public record Arithmetic(Budget budget) {
    /// Bits of an integer, more than Python prints.
    private static final int LONGEST_INTEGER = 1 << 14;

    public Object apply(String operator, Object a, Object b) {
        if (operator.equals("~")) {
            return joined(Text.of(a, budget), Text.of(b, budget));
        }
        if (Values.isNumber(a) && Values.isNumber(b)) {
            return numbers(operator, a, b);
        }
        Object result =
                switch (operator) {
                    case "+" -> sum(a, b);
                    case "*" ->
                            Values.isWhole(b)
                                    ? repeated(a, b)
                                    : Values.isWhole(a) ? repeated(b, a) : null;
                    case "%" -> a instanceof String s ? new Formatting(budget).percent(s, b) : null;
                    default -> null;
                };
        if (result == null) {
            throw new Refusal(
                    "cannot compute %s %s %s".formatted(Values.type(a), operator, Values.type(b)));
        }
        return result;
    }

    /// Null where these cannot be added.
    private Object sum(Object a, Object b) {
        if (Values.string(a) != null && Values.string(b) != null) {
            return a instanceof Values.Markup || b instanceof Values.Markup
                    ? new Values.Markup(joined(escaped(a), escaped(b)))
                    : joined(Values.string(a), Values.string(b));
        }
        if (a instanceof List<?> l && b instanceof List<?> r) {
            return both(l, r);
        }
        return a instanceof Values.Tuple l && b instanceof Values.Tuple r
                ? new Values.Tuple(both(l.items(), r.items()), false)
                : null;
    }

    private static String escaped(Object v) {
        return v instanceof Values.Markup m ? m.text() : Values.Markup.escape((String) v);
    }

    private List<Object> both(List<?> l, List<?> r) {
        budget.spend((long) l.size() + r.size());
        List<Object> both = new ArrayList<>(l);
        both.addAll(r);
        return both;
    }

    private String joined(String a, String b) {
        budget.spend((long) a.length() + b.length());
        return a + b;
    }

    /// Null where this cannot be repeated.
    private Object repeated(Object v, Object times) {
        BigInteger given = Values.big(times).max(BigInteger.ZERO);
        // More than any budget: the cost is what refuses it.
        long count = given.bitLength() < 40 ? given.longValue() : 1L << 40;
        return switch (v) {
            case String s -> repeated(s, count);
            case Values.Markup m -> new Values.Markup(repeated(m.text(), count));
            case List<?> l -> repeated(l, count);
            case Values.Tuple t -> new Values.Tuple(repeated(t.items(), count), false);
            case null, default -> null;
        };
    }

    private String repeated(String s, long count) {
        if (s.isEmpty() || count == 0) {
            return "";
        }
        budget.spend(Math.min(count, 1L << 31) * s.length());
        return s.repeat((int) count);
    }

    private List<Object> repeated(List<?> l, long count) {
        budget.spend(l.isEmpty() ? 0 : Math.min(count, 1L << 31) * l.size());
        List<Object> all = new ArrayList<>();
        for (long i = 0; i < count && !l.isEmpty(); i++) {
            all.addAll(l);
        }
        return all;
    }

    public Object negative(Object v) {
        return v instanceof Double d ? (Object) (-d) : numbers("-", 0L, whole(v, "-"));
    }

    public Object positive(Object v) {
        return v instanceof Double ? v : numbers("+", 0L, whole(v, "+"));
    }

    private static Object whole(Object v, String sign) {
        if (!Values.isWhole(v)) {
            throw new Refusal("cannot compute %s %s".formatted(sign, Values.type(v)));
        }
        return v;
    }

    private Object numbers(String operator, Object a, Object b) {
        if (Values.isWhole(a) && Values.isWhole(b)) {
            return whole(operator, a, b);
        }
        return decimals(operator, Values.decimal(a), Values.decimal(b));
    }

    private Object whole(String operator, Object a, Object b) {
        BigInteger m = Values.big(a);
        BigInteger n = Values.big(b);
        if (n.signum() == 0 && List.of("/", "//", "%").contains(operator)) {
            throw new Refusal("division by zero");
        }
        budget.spend((long) m.bitLength() * n.bitLength() >> 12);
        BigInteger result =
                switch (operator) {
                    case "+" -> m.add(n);
                    case "-" -> m.subtract(n);
                    case "*" -> m.multiply(n);
                    case "//" -> {
                        BigInteger[] both = m.divideAndRemainder(n);
                        yield both[1].signum() != 0 && m.signum() != n.signum()
                                ? both[0].subtract(BigInteger.ONE)
                                : both[0];
                    }
                    case "%" -> {
                        BigInteger rest = m.mod(n.abs());
                        yield rest.signum() != 0 && n.signum() < 0 ? rest.add(n) : rest;
                    }
                    case "**" -> {
                        if (n.signum() < 0) {
                            yield null;
                        }
                        boolean small = m.abs().bitLength() < 2;
                        if (!small
                                && (n.bitLength() > 20
                                        || m.bitLength() * n.longValue() > 2L * LONGEST_INTEGER)) {
                            throw new Refusal("an integer is too large");
                        }
                        yield small
                                ? m.signum() == 0 && n.signum() == 0
                                        ? BigInteger.ONE
                                        : m.signum() < 0 && !n.testBit(0) ? BigInteger.ONE : m
                                : m.pow(n.intValue());
                    }
                    default -> null;
                };
        if (result != null) {
            if (result.bitLength() > LONGEST_INTEGER) {
                throw new Refusal("an integer is too large");
            }
            return Values.integer(result);
        }
        return operator.equals("/")
                ? (Object) quotient(m, n)
                : decimals("**", Values.decimal(a), Values.decimal(b));
    }

    /// Rounded once.
    private static double quotient(BigInteger m, BigInteger n) {
        if (m.bitLength() < 53 && n.bitLength() < 53) {
            return m.doubleValue() / n.doubleValue();
        }
        double q = new BigDecimal(m).divide(new BigDecimal(n), new MathContext(60)).doubleValue();
        if (Double.isInfinite(q)) {
            throw new Refusal("a quotient is too large for a decimal number");
        }
        return q;
    }

    private static Object decimals(String operator, double x, double y) {
        if (y == 0 && List.of("/", "//", "%").contains(operator)) {
            throw new Refusal("division by zero");
        }
        return switch (operator) {
            case "+" -> x + y;
            case "-" -> x - y;
            case "*" -> x * y;
            case "/" -> x / y;
            case "//" -> floor(x, y)[0];
            case "%" -> floor(x, y)[1];
            default -> power(x, y);
        };
    }

    private static double power(double x, double y) {
        if (x == 0 && y < 0) {
            throw new Refusal("zero to a negative power");
        }
        double power = x == 1 ? 1 : Math.pow(x, y);
        boolean finite = Double.isFinite(x) && Double.isFinite(y);
        if (finite && Double.isInfinite(power)) {
            throw new Refusal("a power is too large for a decimal number");
        }
        if (Double.isNaN(power) && !Double.isNaN(x) && !Double.isNaN(y)) {
            throw new Refusal("a power of a negative number is complex");
        }
        return power;
    }

    /// Quotient and remainder, as Python's float has them.
    private static double[] floor(double x, double y) {
        double rest = x % y;
        double quotient = (x - rest) / y;
        if (rest != 0) {
            if (y < 0 != rest < 0) {
                rest += y;
                quotient -= 1;
            }
        } else {
            rest = Math.copySign(0, y);
        }
        double floor = quotient == 0 ? Math.copySign(0, x / y) : Math.floor(quotient);
        return new double[] {quotient - floor > 0.5 ? floor + 1 : floor, rest};
    }
}
