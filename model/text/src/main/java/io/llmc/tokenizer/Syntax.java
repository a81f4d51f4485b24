// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.util.BitSet;
import java.util.List;

/// A part of a regular expression. Sets of characters are over the sample of [SyntaxParser].
sealed interface Syntax {
    /// One character.
    record One(BitSet characters) implements Syntax {}

    /// `^`, `$`, `\b` and the like.
    record Anchor() implements Syntax {}

    /// A look ahead or behind.
    record Look(Syntax of) implements Syntax {}

    record Sequence(List<Syntax> parts) implements Syntax {}

    record Choice(List<Syntax> ways) implements Syntax {}

    /// @param most [Integer#MAX_VALUE] without a bound
    /// @param atomic whether nothing of it is given back
    record Loop(Syntax of, int least, int most, boolean atomic) implements Syntax {
        /// So many rounds that their number matters.
        boolean isLong() {
            return most - least > 32;
        }
    }

    /// Characters of the shortest match, at most a million.
    default int shortest() {
        return switch (this) {
            case One _ -> 1;
            case Anchor _, Look _ -> 0;
            case Sequence q -> q.parts().stream().mapToInt(Syntax::shortest).sum();
            case Choice c -> c.ways().stream().mapToInt(Syntax::shortest).min().orElse(0);
            case Loop l -> (int) Math.min(1_000_000L, (long) l.least() * l.of().shortest());
        };
    }

    /// Whether there are texts that it does not match.
    default boolean mayFail() {
        return switch (this) {
            case One _, Anchor _, Look _ -> true;
            case Sequence q -> q.parts().stream().anyMatch(Syntax::mayFail);
            case Choice c -> c.ways().stream().allMatch(Syntax::mayFail);
            case Loop l -> l.least() > 0 && l.of().mayFail();
        };
    }

    /// Those that it may take.
    default BitSet characters() {
        BitSet all = new BitSet();
        switch (this) {
            case One o -> all.or(o.characters());
            case Anchor _, Look _ -> {}
            case Sequence q -> q.parts().forEach(p -> all.or(p.characters()));
            case Choice c -> c.ways().forEach(w -> all.or(w.characters()));
            case Loop l -> all.or(l.of().characters());
        }
        return all;
    }

    /// Those that it may begin with.
    default BitSet first() {
        BitSet first = new BitSet();
        switch (this) {
            case One o -> first.or(o.characters());
            case Anchor _, Look _ -> {}
            case Sequence q -> {
                for (Syntax part : q.parts()) {
                    first.or(part.first());
                    if (part.shortest() > 0) {
                        break;
                    }
                }
            }
            case Choice c -> c.ways().forEach(w -> first.or(w.first()));
            case Loop l -> first.or(l.of().first());
        }
        return first;
    }
}
