// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/// A regular expression from a stranger's file or a command line, matched within bounds: the
/// pattern's length and nesting are limited before it is compiled, and a match that looks at too
/// many characters ends in an exception, since nested quantifiers make a backtracking matcher try
/// exponentially many ways.
public final class BoundedRegex {
    private static final int MAX_LENGTH = 4096;
    private static final int MAX_DEPTH = 50;
    private static final long MAX_STEPS = 2_000_000;

    private final Pattern pattern;

    private BoundedRegex(Pattern pattern) {
        this.pattern = pattern;
    }

    /// What is wrong with a pattern, or with matching it; the caller knows which file or option it
    /// came from.
    public static final class RegexException extends Exception {
        private RegexException(String message) {
            super(message);
        }
    }

    /// @throws RegexException where it is no regular expression, or too long or nested too deeply
    public static BoundedRegex compile(String pattern) throws RegexException {
        if (pattern.length() > MAX_LENGTH) {
            throw new RegexException(
                    "a pattern of %,d characters is too long, at most %,d are read"
                            .formatted(pattern.length(), MAX_LENGTH));
        }
        if (depth(pattern) > MAX_DEPTH) {
            throw new RegexException(
                    "'%s' nests its groups more than %d deep"
                            .formatted(shortened(pattern), MAX_DEPTH));
        }
        try {
            return new BoundedRegex(Pattern.compile(pattern));
        } catch (PatternSyntaxException e) {
            throw new RegexException(
                    "'%s' is no regular expression: %s"
                            .formatted(shortened(pattern), e.getDescription()));
        }
    }

    /// An upper bound: brackets inside of character classes and quotes count too.
    private static int depth(String pattern) {
        int depth = 0;
        int deepest = 0;
        for (int i = 0; i < pattern.length(); i++) {
            switch (pattern.charAt(i)) {
                case '\\' -> i++;
                case '(', '[' -> deepest = Math.max(deepest, ++depth);
                case ')', ']' -> depth = Math.max(0, depth - 1);
                default -> {}
            }
        }
        return deepest;
    }

    /// Whether the whole text matches.
    ///
    /// @throws RegexException where that takes too long to find out
    public boolean matches(String text) throws RegexException {
        return bounded(text, Matcher::matches);
    }

    /// Whether the text begins with a match: Python's `re.match`.
    ///
    /// @throws RegexException where that takes too long to find out
    public boolean lookingAt(String text) throws RegexException {
        return bounded(text, Matcher::lookingAt);
    }

    /// Whether a part of the text matches: Python's `re.search`.
    ///
    /// @throws RegexException where that takes too long to find out
    public boolean find(String text) throws RegexException {
        return bounded(text, Matcher::find);
    }

    private boolean bounded(String text, java.util.function.Predicate<Matcher> question)
            throws RegexException {
        try {
            return question.test(pattern.matcher(new Counted(text, 0, text.length(), new long[1])));
        } catch (TooManySteps | StackOverflowError e) {
            throw new RegexException(
                    "'%s' takes too long to match: nested quantifiers like (a+)+ try exponentially many ways"
                            .formatted(shortened(pattern.pattern())));
        }
    }

    private static String shortened(String pattern) {
        return pattern.length() > 80 ? pattern.substring(0, 80) + "..." : pattern;
    }

    @Override
    public String toString() {
        return pattern.pattern();
    }

    private static final class TooManySteps extends RuntimeException {
        private TooManySteps() {
            super(null, null, false, false);
        }
    }

    /// Counts the characters that a matcher looks at: the one thing in its loop that is ours.
    private record Counted(String text, int start, int end, long[] steps) implements CharSequence {
        @Override
        public int length() {
            return end - start;
        }

        @Override
        public char charAt(int index) {
            if (++steps[0] > MAX_STEPS) {
                throw new TooManySteps();
            }
            return text.charAt(start + index);
        }

        @Override
        public CharSequence subSequence(int from, int to) {
            return new Counted(text, start + from, start + to, steps);
        }

        @Override
        public String toString() {
            return text.substring(start, end);
        }
    }
}
