// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;

/// Whether a regular expression of a tokenizer.json can be given to the native library, whose
/// matcher goes back over every choice it made and ends the process after ten million of them.
///
/// A pattern passes if one attempt to match takes steps in proportion to the text: where something
/// may fail behind a loop, no loop before it can share its characters with another one in more than
/// one way. Loops behind which nothing fails are never gone back over. What this reads is the
/// syntax of Oniguruma that tokenizers use; anything else is refused.
final class SplitPattern {
    /// Something may be wrong with it.
    static final class Unsafe extends Exception {
        Unsafe(String message) {
            super(message);
        }
    }

    private static final String WAYS =
            "could be matched in too many ways: one loop inside or behind another over the same"
                    + " characters, and then something that may fail";

    /// Of a part whose loops have bounds.
    private static final double MOST_WAYS = 10_000;

    private final double effort;
    private final int shortest;

    private SplitPattern(double effort, int shortest) {
        this.effort = effort;
        this.shortest = shortest;
    }

    /// @throws Unsafe saying what is wrong, as in `the pattern ...`
    static SplitPattern check(String pattern) throws Unsafe {
        Syntax top = SyntaxParser.parse(pattern);
        noRetries(top, false, false);
        return new SplitPattern(effort(top, 1, false), top.shortest());
    }

    /// How often one attempt may go back over the whole text, at most.
    double effort() {
        return effort;
    }

    /// Characters of the shortest match.
    int shortest() {
        return shortest;
    }

    /// @param ways in which what stands before it may have matched
    private static double effort(Syntax s, double ways, boolean fails) {
        return switch (s) {
            case Syntax.One _, Syntax.Anchor _ -> 0;
            case Syntax.Look l -> effort(l.of(), ways, false);
            case Syntax.Choice c ->
                    c.ways().stream().mapToDouble(w -> effort(w, ways, fails)).sum();
            case Syntax.Loop l -> (l.isLong() ? ways : 0) + effort(l.of(), ways, fails);
            case Syntax.Sequence q -> {
                List<Syntax> parts = flat(q.parts());
                double effort = 0;
                double before = ways;
                for (int i = 0; i < parts.size(); i++) {
                    boolean later = fails || mayFail(parts, i + 1);
                    effort += effort(parts.get(i), before, later);
                    before *= later ? ways(parts.get(i)) : 1;
                }
                yield effort;
            }
        };
    }

    private static boolean mayFail(List<Syntax> parts, int from) {
        return parts.subList(from, parts.size()).stream().anyMatch(Syntax::mayFail);
    }

    /// In how many ways a part may match at one place, but for the rounds of its long loops.
    private static double ways(Syntax s) {
        return switch (s) {
            case Syntax.One _, Syntax.Anchor _, Syntax.Look _ -> 1;
            case Syntax.Sequence q ->
                    q.parts().stream().mapToDouble(SplitPattern::ways).reduce(1, (a, b) -> a * b);
            case Syntax.Choice c -> c.ways().stream().mapToDouble(SplitPattern::ways).sum();
            case Syntax.Loop l -> {
                double once = ways(l.of());
                double rounds = l.isLong() ? 1 : l.most() - l.least() + 1.0;
                yield l.atomic() ? 1 : rounds * (l.isLong() ? once : Math.pow(once, l.most()));
            }
        };
    }

    private static int loops(Syntax s) {
        return switch (s) {
            case Syntax.One _, Syntax.Anchor _ -> 0;
            case Syntax.Look l -> loops(l.of());
            case Syntax.Sequence q -> q.parts().stream().mapToInt(SplitPattern::loops).sum();
            case Syntax.Choice c -> c.ways().stream().mapToInt(SplitPattern::loops).sum();
            case Syntax.Loop l -> loops(l.of()) + (l.isLong() ? 1 : 0);
        };
    }

    /// @param fails whether something behind it may fail, so that its choices are gone back over
    /// @param looping whether it stands in a loop
    private static void noRetries(Syntax s, boolean fails, boolean looping) throws Unsafe {
        switch (s) {
            case Syntax.One _, Syntax.Anchor _ -> {}
            case Syntax.Look l -> {
                if (looping && loops(l.of()) > 0) {
                    throw new Unsafe(WAYS);
                }
                noRetries(l.of(), false, looping);
            }
            case Syntax.Choice c -> {
                for (Syntax way : c.ways()) {
                    noRetries(way, fails, looping);
                }
            }
            case Syntax.Sequence q -> sequence(q.parts(), fails, looping);
            case Syntax.Loop l -> {
                boolean retried = fails && !l.atomic() || l.least() > 1;
                boolean many = l.isLong() || l.most() > 1 && loops(l.of()) > 0;
                if (many && retried && !isSimple(l.of()) && !isDeterministic(l.of())) {
                    throw new Unsafe(WAYS);
                }
                if (l.isLong() && l.of().shortest() == 0 && !(l.of() instanceof Syntax.One)) {
                    // Each round could match nothing in several ways.
                    noRetries(l.of(), true, true);
                } else {
                    noRetries(l.of(), retried && !l.isLong(), looping || l.isLong());
                }
            }
        }
    }

    private static void sequence(List<Syntax> given, boolean fails, boolean looping) throws Unsafe {
        List<Syntax> parts = flat(given);
        double ways = 1;
        for (int i = 0; i < parts.size(); i++) {
            boolean later = fails || mayFail(parts, i + 1);
            noRetries(parts.get(i), later, looping);
            ways *= later ? ways(parts.get(i)) : 1;
            for (int j = i + 1; j < parts.size() && isGivenBack(parts.get(i)); j++) {
                boolean retried = isGivenBack(parts.get(j)) && (fails || mayFail(parts, j + 1));
                if (retried && meet(parts, i, j)) {
                    throw new Unsafe(WAYS);
                }
            }
        }
        if (ways > MOST_WAYS) {
            throw new Unsafe(WAYS);
        }
    }

    private static List<Syntax> flat(List<Syntax> parts) {
        List<Syntax> flat = new ArrayList<>();
        for (Syntax part : parts) {
            if (part instanceof Syntax.Sequence q) {
                flat.addAll(flat(q.parts()));
            } else {
                flat.add(part);
            }
        }
        return flat;
    }

    /// Whether it takes characters in a loop, and may have to give them back.
    private static boolean isGivenBack(Syntax s) {
        return switch (s) {
            case Syntax.One _, Syntax.Anchor _, Syntax.Look _ -> false;
            case Syntax.Loop l -> !l.atomic() && (l.isLong() || isGivenBack(l.of()));
            case Syntax.Sequence q -> q.parts().stream().anyMatch(SplitPattern::isGivenBack);
            case Syntax.Choice c -> c.ways().stream().anyMatch(SplitPattern::isGivenBack);
        };
    }

    /// Whether a run of one kind of characters can be divided between two loops.
    private static boolean meet(List<Syntax> parts, int i, int j) {
        BitSet shared = (BitSet) parts.get(i).characters().clone();
        shared.and(parts.get(j).characters());
        for (int k = i + 1; k < j; k++) {
            if (parts.get(k).shortest() > 0) {
                shared.and(parts.get(k).characters());
            }
        }
        return !shared.isEmpty();
    }

    /// Every round takes as many characters, in one way.
    private static boolean isSimple(Syntax s) {
        return switch (s) {
            case Syntax.One _ -> true;
            case Syntax.Anchor _, Syntax.Look _ -> false;
            case Syntax.Loop l -> l.least() == l.most() && l.least() > 0 && isSimple(l.of());
            case Syntax.Sequence q -> {
                boolean any = false;
                boolean simple = true;
                for (Syntax part : q.parts()) {
                    boolean zero = part instanceof Syntax.Look || part instanceof Syntax.Anchor;
                    simple &= zero || isSimple(part);
                    any |= !zero;
                }
                yield simple && any;
            }
            case Syntax.Choice c -> {
                BitSet all = new BitSet();
                boolean apart = true;
                for (Syntax way : c.ways()) {
                    apart &= way instanceof Syntax.One && !all.intersects(way.characters());
                    all.or(way.characters());
                }
                yield apart;
            }
        };
    }

    /// Whether the next character tells, round after round, which way the loop goes on.
    private static boolean isDeterministic(Syntax body) {
        List<Syntax> ways = body instanceof Syntax.Choice c ? c.ways() : List.of(body);
        BitSet first = new BitSet();
        for (Syntax way : ways) {
            if (way.shortest() == 0 || first.intersects(way.first())) {
                return false;
            }
            first.or(way.first());
        }
        for (Syntax way : ways) {
            BitSet next = first;
            List<Syntax> parts = flat(way instanceof Syntax.Sequence q ? q.parts() : List.of(way));
            for (Syntax part : parts.reversed()) {
                boolean loop = part instanceof Syntax.Loop;
                boolean plain =
                        loop ? ((Syntax.Loop) part).of() instanceof Syntax.One : isSimple(part);
                if (!plain || loop && part.characters().intersects(next)) {
                    return false;
                }
                BitSet before = (BitSet) part.first().clone();
                if (part.shortest() == 0) {
                    before.or(next);
                }
                next = before;
            }
        }
        return true;
    }
}
