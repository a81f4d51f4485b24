// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.function.UnaryOperator;
import java.util.stream.IntStream;

/// Where equal parts lie among the rows or the columns of a linear layer, as heads among those of a
/// projection: part `p` is the `width` rows from `from + p / run * period + p % run * width` on.
///
/// @param linear the layer's name
/// @param run parts that lie side by side
/// @param period from the begin of one run to the begin of the next
public record Span(String linear, int from, int width, int run, int period) {
    /// Parts of which each follows the one before.
    public static Span of(String linear, int from, int width) {
        return new Span(linear, from, width, 1, width);
    }

    public Span renamed(UnaryOperator<String> names) {
        return new Span(names.apply(linear), from, width, run, period);
    }

    public int start(int part) {
        return from + part / run * period + part % run * width;
    }

    /// The rows of some parts, in the order of the parts.
    public IntStream indices(int... parts) {
        return IntStream.of(parts).flatMap(p -> IntStream.range(start(p), start(p) + width));
    }
}
