// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.tokenizer.SplitPattern.Unsafe;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/// Reads the regular expressions of tokenizers. What a class of characters holds is asked of Java's
/// own, over a sample: two characters of every category and script, all of Latin, and those that
/// the pattern names. A class that Java does not read holds everything.
final class SyntaxParser {
    private static final int LONGEST = 10_000;
    private static final int DEEPEST = 50;
    private static final int MOST_ROUNDS = 1000;
    private static final int LATIN = 0x250;
    private static final List<Integer> SAMPLE = sample();

    private final String pattern;
    private final List<String> sample;
    private final boolean anyCase;
    private int at;
    private int depth;

    private SyntaxParser(String pattern) {
        this.pattern = pattern;
        this.anyCase = pattern.contains("(?i") || pattern.contains("(?m");
        Set<Integer> all = new HashSet<>(SAMPLE);
        pattern.codePoints().forEach(all::add);
        this.sample = all.stream().map(Character::toString).toList();
    }

    private static List<Integer> sample() {
        Map<Object, Integer> seen = new HashMap<>();
        List<Integer> sample = new ArrayList<>();
        for (int c = 0; c <= Character.MAX_CODE_POINT; c++) {
            record Kind(int category, Character.UnicodeScript script) {}
            boolean surrogate = c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE;
            Kind kind = new Kind(Character.getType(c), Character.UnicodeScript.of(c));
            if (!surrogate && (c < LATIN || seen.merge(kind, 1, Integer::sum) < 3)) {
                sample.add(c);
            }
        }
        return List.copyOf(sample);
    }

    /// @throws Unsafe where it is too long, too deep, or says what is not understood here
    static Syntax parse(String pattern) throws Unsafe {
        if (pattern.length() > LONGEST) {
            throw new Unsafe(
                    "has %,d characters, at most %,d are read"
                            .formatted(pattern.length(), LONGEST));
        }
        SyntaxParser parser = new SyntaxParser(pattern);
        Syntax all = parser.choice();
        if (parser.at < pattern.length()) {
            throw parser.unknown("a ) without (");
        }
        return all;
    }

    private Unsafe unknown(String what) {
        return new Unsafe("has %s, which is not understood here".formatted(what));
    }

    private boolean takes(String text) {
        boolean is = pattern.startsWith(text, at);
        at += is ? text.length() : 0;
        return is;
    }

    private Syntax choice() throws Unsafe {
        if (++depth > DEEPEST) {
            throw new Unsafe("nests its groups more than %d deep".formatted(DEEPEST));
        }
        List<Syntax> ways = new ArrayList<>();
        do {
            ways.add(sequence());
        } while (takes("|"));
        depth--;
        return ways.size() == 1 ? ways.getFirst() : new Syntax.Choice(ways);
    }

    private Syntax sequence() throws Unsafe {
        List<Syntax> parts = new ArrayList<>();
        while (at < pattern.length() && "|)".indexOf(pattern.charAt(at)) < 0) {
            if (pattern.startsWith("(?i)", at)) {
                at += 4;
                continue;
            }
            parts.add(loops(atom()));
        }
        return parts.size() == 1 ? parts.getFirst() : new Syntax.Sequence(parts);
    }

    private Syntax loops(Syntax one) throws Unsafe {
        Syntax all = one;
        int deep = 0;
        int rounds = 1;
        while (at < pattern.length()) {
            int least;
            int most;
            boolean counted = false;
            if (takes("*")) {
                least = 0;
                most = Integer.MAX_VALUE;
            } else if (takes("+")) {
                least = 1;
                most = Integer.MAX_VALUE;
            } else if (takes("?")) {
                least = 0;
                most = 1;
            } else {
                int[] bounds = bounds();
                if (bounds == null) {
                    return all;
                }
                least = bounds[0];
                most = bounds[1];
                counted = true;
            }
            boolean lazy = takes("?");
            // A + behind a count is another loop.
            boolean atomic = !lazy && !counted && takes("+");
            int copied = Math.max(least, most == Integer.MAX_VALUE ? 1 : most);
            rounds *= Math.max(1, copied);
            if (++deep > 3 || rounds > MOST_ROUNDS || copies(one) * (long) rounds > MOST_ROUNDS) {
                throw new Unsafe("repeats a part more than %,d times".formatted(MOST_ROUNDS));
            }
            all = new Syntax.Loop(all, least, most, atomic);
        }
        return all;
    }

    /// How often the parts of a part are repeated by counts.
    private static long copies(Syntax s) {
        return switch (s) {
            case Syntax.One _, Syntax.Anchor _ -> 1;
            case Syntax.Look l -> copies(l.of());
            case Syntax.Sequence q ->
                    q.parts().stream().mapToLong(SyntaxParser::copies).max().orElse(1);
            case Syntax.Choice c ->
                    c.ways().stream().mapToLong(SyntaxParser::copies).max().orElse(1);
            case Syntax.Loop l ->
                    copies(l.of())
                            * Math.max(1, l.most() == Integer.MAX_VALUE ? l.least() : l.most());
        };
    }

    /// `{2}`, `{2,}`, `{,3}` or `{2,3}`; null for a brace that is a character.
    private int[] bounds() throws Unsafe {
        java.util.regex.Matcher m = BOUNDS.matcher(pattern).region(at, pattern.length());
        if (!m.lookingAt() || m.group(1).isEmpty() && m.group(3) == null) {
            return null;
        }
        boolean one = m.group(2) == null;
        if (!one && m.group(1).isEmpty() && m.group(3).isEmpty()) {
            return null;
        }
        if (m.group(1).length() > 4 || !one && m.group(3).length() > 4) {
            throw new Unsafe("repeats a part more than %,d times".formatted(MOST_ROUNDS));
        }
        at = m.end();
        int least = m.group(1).isEmpty() ? 0 : Integer.parseInt(m.group(1));
        int most =
                one
                        ? least
                        : m.group(3).isEmpty() ? Integer.MAX_VALUE : Integer.parseInt(m.group(3));
        if (most < least) {
            throw unknown("a count that falls");
        }
        return new int[] {least, most};
    }

    private static final Pattern BOUNDS = Pattern.compile("\\{([0-9]*+)(,([0-9]*+))?\\}");

    private Syntax atom() throws Unsafe {
        char c = pattern.charAt(at);
        switch (c) {
            case '(' -> {
                return group();
            }
            case '[' -> {
                int from = at;
                skipClass();
                return one(pattern.substring(from, at));
            }
            case '\\' -> {
                return escape();
            }
            case '^', '$' -> {
                at++;
                return new Syntax.Anchor();
            }
            case '*', '+', '?' -> throw unknown("a quantifier of nothing");
            default -> {
                int end = at + Character.charCount(pattern.codePointAt(at));
                String text = pattern.substring(at, end);
                at = end;
                return c == '.' ? one("[\\s\\S]") : one(Pattern.quote(text));
            }
        }
    }

    private Syntax group() throws Unsafe {
        at++;
        boolean look = takes("?=") || takes("?!") || takes("?<=") || takes("?<!");
        boolean atomic = !look && takes("?>");
        if (!look && !atomic && takes("?")) {
            java.util.regex.Matcher m = OPTIONS.matcher(pattern).region(at, pattern.length());
            if (!m.lookingAt()) {
                throw unknown(
                        "a group of the kind (?"
                                + pattern.substring(at, Math.min(at + 1, pattern.length())));
            }
            at = m.end();
        }
        Syntax inside = choice();
        if (!takes(")")) {
            throw unknown("a ( without )");
        }
        return look
                ? new Syntax.Look(inside)
                : atomic ? new Syntax.Loop(inside, 1, 1, true) : inside;
    }

    private static final Pattern OPTIONS =
            Pattern.compile("[imx]*(-[imx]+)?:|<[A-Za-z_][A-Za-z_0-9]*>");

    private void skipClass() throws Unsafe {
        int deep = 0;
        do {
            if (at >= pattern.length()) {
                throw unknown("a [ without ]");
            }
            char c = pattern.charAt(at++);
            if (c == '\\') {
                at++;
            } else if (c == '[') {
                if (++deep > DEEPEST) {
                    throw new Unsafe("nests its classes more than %d deep".formatted(DEEPEST));
                }
            } else if (c == ']') {
                deep--;
            }
        } while (deep > 0);
        if (at > pattern.length()) {
            throw unknown("a [ without ]");
        }
    }

    private Syntax escape() throws Unsafe {
        if (at + 1 >= pattern.length()) {
            throw unknown("a \\ at its end");
        }
        int from = at;
        char c = pattern.charAt(at + 1);
        at += 2;
        if ("bBAzZG".indexOf(c) >= 0 && c != 'G') {
            return new Syntax.Anchor();
        }
        if (c == 'p' || c == 'P' || c == 'x' && pattern.startsWith("{", at)) {
            int end = pattern.indexOf('}', at);
            if (!pattern.startsWith("{", at) || end < 0) {
                throw unknown("a \\%s without {}".formatted(c));
            }
            at = end + 1;
        } else if (c == 'x' || c == 'u') {
            at = Math.min(pattern.length(), at + (c == 'x' ? 2 : 4));
        } else if (Character.isLetterOrDigit(c) && "sSdDwWhHrntfvae".indexOf(c) < 0) {
            throw unknown("\\" + c);
        }
        return one(pattern.substring(from, at));
    }

    private Syntax one(String text) {
        BitSet holds = new BitSet();
        Predicate<String> test = test(text);
        for (int i = 0; i < sample.size(); i++) {
            if (test == null || test.test(sample.get(i))) {
                holds.set(i);
            }
        }
        return new Syntax.One(holds);
    }

    /// Null where Java does not know what it holds.
    private Predicate<String> test(String text) {
        int flags =
                Pattern.UNICODE_CHARACTER_CLASS
                        | (anyCase ? Pattern.CASE_INSENSITIVE | Pattern.UNICODE_CASE : 0);
        // A class of classes of Oniguruma's, a caret or an option may mean something else to Java.
        if (text.startsWith("[") && (text.indexOf('[', 1) >= 0 || text.contains("&&"))) {
            return null;
        }
        try {
            return Pattern.compile(text, flags).asMatchPredicate();
        } catch (PatternSyntaxException e) {
            return null;
        }
    }
}
