// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.gate;

import io.llmc.pipeline.RecipeException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// A bound for one figure, as in `kld_mean < 0.05`.
///
/// @param figure its name in the JSON; those of nested objects are joined by dots
public record Gate(String figure, Relation relation, double bound) {
    private static final Pattern FORM =
            Pattern.compile("\\s*([^<>=\\s]+)\\s*(<=|>=|<|>)\\s*(\\S+)\\s*");

    /// How a figure must stand to its bound.
    public enum Relation {
        BELOW("<"),
        AT_MOST("<="),
        ABOVE(">"),
        AT_LEAST(">=");

        private final String sign;

        Relation(String sign) {
            this.sign = sign;
        }

        public String sign() {
            return sign;
        }

        /// A figure that is no number keeps no bound.
        boolean holds(double value, double bound) {
            return switch (this) {
                case BELOW -> value < bound;
                case AT_MOST -> value <= bound;
                case ABOVE -> value > bound;
                case AT_LEAST -> value >= bound;
            };
        }

        static Relation of(String sign) {
            for (Relation relation : values()) {
                if (relation.sign.equals(sign)) {
                    return relation;
                }
            }
            throw new IllegalArgumentException(sign);
        }
    }

    /// @throws RecipeException where the text is no gate
    public static Gate parse(String text) {
        Matcher m = FORM.matcher(text);
        if (m.matches()) {
            try {
                double bound = Double.parseDouble(m.group(3));
                if (Double.isFinite(bound)) {
                    return new Gate(m.group(1), Relation.of(m.group(2)), bound);
                }
            } catch (NumberFormatException e) {
                // falls through to the one sentence below
            }
        }
        throw new RecipeException(
                "{gate}",
                "\"%s\" is no gate; write a figure, <, <=, > or >=, and a number, as in 'kld_mean<0.05'"
                        .formatted(text));
    }

    /// `kld_mean < 0.05`, with the bound as short as it can be told.
    @Override
    public String toString() {
        return "%s %s %s".formatted(figure, relation.sign, number(bound));
    }

    static String number(double value) {
        return value == Math.rint(value) && Math.abs(value) < 1e15
                ? Long.toString((long) value)
                : Double.toString(value);
    }
}
