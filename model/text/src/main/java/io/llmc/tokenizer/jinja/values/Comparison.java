// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigDecimal;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/// `==`, `<` and hashing as Python has them.
public record Comparison(Budget budget) {
    private static final long EXACT = 1L << 53;

    public boolean same(Object a, Object b) {
        budget.spend(1);
        if (Values.isNumber(a) && Values.isNumber(b)) {
            return !isNan(a) && !isNan(b) && numbers(a, b) == 0;
        }
        String s = Values.string(a);
        String t = Values.string(b);
        if (s != null || t != null) {
            budget.spend(s == null || t == null ? 0 : Math.min(s.length(), t.length()) / 8);
            return Objects.equals(s, t);
        }
        return switch (a) {
            case List<?> l when b instanceof List<?> r -> items(l, r);
            case Values.Tuple l when b instanceof Values.Tuple r -> items(l.items(), r.items());
            case Values.Range l when b instanceof Values.Range r -> items(l.items(), r.items());
            case Map<?, ?> l when b instanceof Map<?, ?> r -> entries(l, r);
            case Values.Undefined _ -> b instanceof Values.Undefined;
            case Values.View _ when b instanceof Values.View ->
                    throw new Refusal("views of mappings are not compared here");
            case null, default -> Objects.equals(a, b);
        };
    }

    private boolean items(List<?> l, List<?> r) {
        if (l.size() != r.size()) {
            return false;
        }
        budget.enter();
        boolean same = true;
        for (int i = 0; i < l.size() && same; i++) {
            same = same(l.get(i), r.get(i));
        }
        budget.leave();
        return same;
    }

    private boolean entries(Map<?, ?> l, Map<?, ?> r) {
        if (l.size() != r.size()) {
            return false;
        }
        budget.enter();
        boolean same = true;
        for (Iterator<? extends Map.Entry<?, ?>> i = l.entrySet().iterator();
                same && i.hasNext(); ) {
            Map.Entry<?, ?> e = i.next();
            Object key = find(r, e.getKey());
            same = key != ABSENT && same(e.getValue(), r.get(key));
        }
        budget.leave();
        return same;
    }

    /// Whether `a operator b` holds, for `<`, `<=`, `>` and `>=`.
    public boolean holds(String operator, Object a, Object b) {
        if (isNan(a) && Values.isNumber(b) || isNan(b) && Values.isNumber(a)) {
            return false;
        }
        int order = order(a, b);
        return switch (operator) {
            case "<" -> order < 0;
            case "<=" -> order <= 0;
            case ">" -> order > 0;
            default -> order >= 0;
        };
    }

    int order(Object a, Object b) {
        budget.spend(1);
        if (Values.isNumber(a) && Values.isNumber(b)) {
            return numbers(a, b);
        }
        String s = Values.string(a);
        String t = Values.string(b);
        if (s != null && t != null) {
            budget.spend(Math.min(s.length(), t.length()));
            return Arrays.compare(s.codePoints().toArray(), t.codePoints().toArray());
        }
        if (a instanceof List<?> l && b instanceof List<?> r) {
            return order(l, r);
        }
        if (a instanceof Values.Tuple l && b instanceof Values.Tuple r) {
            return order(l.items(), r.items());
        }
        throw new Refusal("cannot order %s and %s".formatted(Values.type(a), Values.type(b)));
    }

    private int order(List<?> l, List<?> r) {
        budget.enter();
        int order = Integer.compare(l.size(), r.size());
        for (int i = 0; i < Math.min(l.size(), r.size()); i++) {
            if (!same(l.get(i), r.get(i))) {
                order = order(l.get(i), r.get(i));
                break;
            }
        }
        budget.leave();
        return order;
    }

    private static boolean isNan(Object v) {
        return v instanceof Double d && d.isNaN();
    }

    private static int numbers(Object a, Object b) {
        Long m = Values.whole(a);
        Long n = Values.whole(b);
        if (m != null && n != null) {
            return m.compareTo(n);
        }
        boolean exact =
                a instanceof Double && (b instanceof Double || n != null && Math.abs(n) < EXACT)
                        || b instanceof Double && m != null && Math.abs(m) < EXACT;
        if (exact || isInfinite(a) || isInfinite(b)) {
            double x = isInfinite(b) && !(a instanceof Double) ? 0 : Values.decimal(a);
            double y = isInfinite(a) && !(b instanceof Double) ? 0 : Values.decimal(b);
            // Not Double.compare, for which -0.0 is less than 0.0.
            return x < y ? -1 : x > y ? 1 : 0;
        }
        return exact(a).compareTo(exact(b));
    }

    private static boolean isInfinite(Object v) {
        return v instanceof Double d && d.isInfinite();
    }

    private static BigDecimal exact(Object v) {
        return v instanceof Double d ? new BigDecimal(d) : new BigDecimal(Values.big(v));
    }

    /// No key at all.
    static final Object ABSENT = new Object();

    /// The key of a mapping that is equal to this value, or [#ABSENT].
    ///
    /// @throws Refusal where no mapping can have such a key
    Object find(Map<?, ?> m, Object v) {
        Object key = hashed(v);
        // Not every mapping of Java's may be asked for null, which is a key in Python.
        if (key == null ? m.keySet().stream().anyMatch(Objects::isNull) : m.containsKey(key)) {
            return key;
        }
        if (Values.isNumber(key)) {
            // 1, 1.0 and true are one key in Python.
            budget.spend(m.size());
            for (Object k : m.keySet()) {
                if (Values.isNumber(k) && same(k, key)) {
                    return k;
                }
            }
        }
        return ABSENT;
    }

    /// Sets an entry; one under an equal key keeps its place and its key.
    public void put(Map<Object, Object> m, Object key, Object value) {
        Object known = find(m, key);
        m.put(known == ABSENT ? hashed(key) : known, value);
    }

    /// The value itself, as a key.
    ///
    /// @throws Refusal for lists and mappings, which Python does not hash, and tuples of them
    Object hashed(Object v) {
        budget.spend(1);
        if (v instanceof List || v instanceof Map || v instanceof Values.View) {
            throw new Refusal(Values.type(v) + " is no key");
        }
        if (v instanceof Values.Tuple t) {
            budget.enter();
            t.items().forEach(this::hashed);
            budget.leave();
        }
        return v instanceof Values.Markup m ? m.text() : v;
    }
}
