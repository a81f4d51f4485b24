// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.math.BigInteger;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Python's values: strings, [Long] and beyond it [BigInteger], [Double], [Boolean], null for None,
/// lists, maps, and these.
public final class Values {
    private Values() {}

    /// @param what was looked for
    public record Undefined(String what) {}

    /// @param group whether it is one of `groupby`, whose parts have names
    public record Tuple(List<Object> items, boolean group) {
        static Tuple of(Object... items) {
            return new Tuple(java.util.Arrays.asList(items), false);
        }
    }

    /// @param items what it runs over
    record Range(long start, long stop, long step, List<Object> items) {}

    /// What `keys`, `values` and `items` of a mapping give.
    record View(Map<?, ?> of, Kind kind) {
        enum Kind {
            KEYS,
            VALUES,
            ITEMS
        }
    }

    /// A string that counts as HTML: what is added to it is escaped.
    record Markup(String text) {
        /// `&`, `<`, `>` and quotes as entities.
        static String escape(String s) {
            return s.replace("&", "&amp;")
                    .replace(">", "&gt;")
                    .replace("<", "&lt;")
                    .replace("'", "&#39;")
                    .replace("\"", "&#34;");
        }
    }

    /// A generator: it runs once, has no length, and is true even where nothing will come.
    record Stream(Iterator<Object> iterator) {}

    /// What `namespace()` makes: the one thing that changes.
    public static final class Namespace {
        public final Map<String, Object> values = new LinkedHashMap<>();
    }

    /// What has attributes of its own and can do nothing else.
    public interface Attributes {
        /// Undefined where there is none.
        Object attribute(String name);
    }

    /// What can be called.
    public interface Function {
        Object call(Arguments given);
    }

    public static boolean isTrue(Object v) {
        return switch (v) {
            case null -> false;
            case Undefined _ -> false;
            case Boolean b -> b;
            case String s -> !s.isEmpty();
            case Markup m -> !m.text().isEmpty();
            case Long n -> n != 0;
            case Double d -> d != 0;
            case List<?> l -> !l.isEmpty();
            case Tuple t -> !t.items().isEmpty();
            case Range r -> !r.items().isEmpty();
            case Map<?, ?> m -> !m.isEmpty();
            case View w -> !w.of().isEmpty();
            default -> true;
        };
    }

    public static String type(Object v) {
        return switch (v) {
            case null -> "None";
            case Undefined u -> u.what() + ", which is undefined,";
            case Boolean _ -> "a boolean";
            case String _, Markup _ -> "a string";
            case Long _, BigInteger _ -> "an integer";
            case Double _ -> "a number";
            case List<?> _ -> "a list";
            case Tuple _ -> "a tuple";
            case Range _ -> "a range";
            case Map<?, ?> _ -> "a mapping";
            case View _ -> "a view of a mapping";
            case Stream _ -> "a generator";
            case Function _ -> "a function";
            case Attributes _ -> "a loop";
            default -> "a namespace";
        };
    }

    /// Null for what is no string.
    static String string(Object v) {
        return switch (v) {
            case String s -> s;
            case Markup m -> m.text();
            case null, default -> null;
        };
    }

    static boolean isNumber(Object v) {
        return v instanceof Long
                || v instanceof Double
                || v instanceof Boolean
                || v instanceof BigInteger;
    }

    static boolean isWhole(Object v) {
        return v instanceof Long || v instanceof Boolean || v instanceof BigInteger;
    }

    /// Null for what is no whole number, or beyond 64 bits; true counts as 1, as in Python.
    public static Long whole(Object v) {
        return switch (v) {
            case Long n -> n;
            case Boolean b -> b ? 1L : 0L;
            case null, default -> null;
        };
    }

    static double decimal(Object v) {
        return switch (v) {
            case Double d -> d;
            case BigInteger n -> {
                double d = n.doubleValue();
                if (Double.isInfinite(d)) {
                    throw new Refusal("an integer is too large for a decimal number");
                }
                yield d;
            }
            default -> whole(v).doubleValue();
        };
    }

    static BigInteger big(Object v) {
        return v instanceof BigInteger n ? n : BigInteger.valueOf(whole(v));
    }

    /// An integer in the form that all of them have here.
    public static Object integer(BigInteger n) {
        return n.bitLength() < Long.SIZE ? (Object) n.longValue() : n;
    }
}
