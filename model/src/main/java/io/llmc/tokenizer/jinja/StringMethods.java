// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.IntPredicate;

/// Python's methods of strings.
record StringMethods(Budget budget) {
    static final Set<String> NAMES =
            Set.of(
                    "strip",
                    "lstrip",
                    "rstrip",
                    "split",
                    "rsplit",
                    "splitlines",
                    "startswith",
                    "endswith",
                    "replace",
                    "upper",
                    "lower",
                    "title",
                    "capitalize",
                    "join",
                    "find",
                    "rfind",
                    "count",
                    "isdigit",
                    "isalpha",
                    "isspace",
                    "isupper",
                    "islower",
                    "removeprefix",
                    "removesuffix");

    Object apply(String s, String name, Arguments given) {
        budget.spend(s.length());
        return switch (name) {
            case "strip" -> strip(s, given.get(0, "chars", null), true, true);
            case "lstrip" -> strip(s, given.get(0, "chars", null), true, false);
            case "rstrip" -> strip(s, given.get(0, "chars", null), false, true);
            case "split" ->
                    split(s, given.get(0, "sep", null), given.whole(1, "maxsplit", -1), false);
            case "rsplit" ->
                    split(s, given.get(0, "sep", null), given.whole(1, "maxsplit", -1), true);
            case "splitlines" -> new ArrayList<Object>(s.lines().toList());
            case "startswith" -> any(given.get(0), s::startsWith);
            case "endswith" -> any(given.get(0), s::endsWith);
            case "replace" -> replace(s, given.text(0), given.text(1), given.whole(2, "count", -1));
            case "upper" -> s.toUpperCase(Locale.ROOT);
            case "lower" -> s.toLowerCase(Locale.ROOT);
            case "title" -> title(s, c -> !Character.isLetter(c));
            case "capitalize" -> capitalize(s);
            case "join" -> join(Values.items(given.get(0), budget), s);
            case "find" -> place(s, s.indexOf(given.text(0)));
            case "rfind" -> place(s, s.lastIndexOf(given.text(0)));
            case "count" -> (long) split(s, given.text(0), -1, false).size() - 1;
            case "isdigit" -> all(s, Character::isDigit);
            case "isalpha" -> all(s, Character::isLetter);
            case "isspace" -> all(s, Spaces::is);
            case "isupper" ->
                    !s.equals(s.toLowerCase(Locale.ROOT)) && s.equals(s.toUpperCase(Locale.ROOT));
            case "islower" ->
                    !s.equals(s.toUpperCase(Locale.ROOT)) && s.equals(s.toLowerCase(Locale.ROOT));
            case "removeprefix" ->
                    s.startsWith(given.text(0)) ? s.substring(given.text(0).length()) : s;
            case "removesuffix" ->
                    s.endsWith(given.text(0))
                            ? s.substring(0, s.length() - given.text(0).length())
                            : s;
            default -> throw new Refusal("strings have no method " + name);
        };
    }

    static String strip(String s, Object chars, boolean start, boolean end) {
        String set = chars == null ? null : Arguments.text(chars);
        IntPredicate goes = set == null ? Spaces::is : c -> set.indexOf(c) >= 0;
        int from = 0;
        int to = s.length();
        while (start && from < to && goes.test(s.codePointAt(from))) {
            from += Character.charCount(s.codePointAt(from));
        }
        while (end && to > from && goes.test(s.codePointBefore(to))) {
            to -= Character.charCount(s.codePointBefore(to));
        }
        return s.substring(from, to);
    }

    private static List<Object> split(String s, Object separator, long most, boolean fromEnd) {
        List<Object> parts = new ArrayList<>();
        long left = most < 0 ? Long.MAX_VALUE : most;
        if (fromEnd && most >= 0) {
            String sep = Arguments.text(separator);
            int end = s.length();
            for (int at = found(sep, s.lastIndexOf(sep));
                    at >= 0 && left-- > 0;
                    at = end == 0 ? -1 : s.lastIndexOf(sep, end - sep.length())) {
                parts.add(s.substring(at + sep.length(), end));
                end = at;
                if (end < sep.length()) {
                    break;
                }
            }
            parts.add(s.substring(0, end));
            Collections.reverse(parts);
            return parts;
        }
        if (separator == null) {
            int at = Spaces.skip(s, 0);
            while (at < s.length()) {
                int end = at;
                while (end < s.length() && !Spaces.is(s.charAt(end))) {
                    end++;
                }
                if (left-- == 0) {
                    parts.add(Spaces.stripEnd(s.substring(at)));
                    break;
                }
                parts.add(s.substring(at, end));
                at = Spaces.skip(s, end);
            }
            return parts;
        }
        String sep = Arguments.text(separator);
        int from = 0;
        for (int at = found(sep, s.indexOf(sep));
                at >= 0 && left-- > 0;
                at = s.indexOf(sep, from)) {
            parts.add(s.substring(from, at));
            from = at + sep.length();
        }
        parts.add(s.substring(from));
        return parts;
    }

    private static int found(String separator, int at) {
        if (separator.isEmpty()) {
            throw new Refusal("an empty string separates nothing");
        }
        return at;
    }

    private static boolean any(Object given, java.util.function.Predicate<String> test) {
        return given instanceof List<?> l
                ? l.stream().anyMatch(one -> test.test(Arguments.text(one)))
                : test.test(Arguments.text(given));
    }

    String replace(String s, String old, String now, long most) {
        if (old.isEmpty()) {
            throw new Refusal("replace of an empty string is not known here");
        }
        List<Object> parts = split(s, old, most, false);
        budget.spend((long) (parts.size() - 1) * now.length());
        return String.join(now, parts.stream().map(String.class::cast).toList());
    }

    static String capitalize(String s) {
        if (s.isEmpty()) {
            return s;
        }
        int first = s.offsetByCodePoints(0, 1);
        return s.substring(0, first).toUpperCase(Locale.ROOT)
                + s.substring(first).toLowerCase(Locale.ROOT);
    }

    /// Upper case behind what separates words, lower case elsewhere.
    static String title(String s, IntPredicate separates) {
        StringBuilder out = new StringBuilder();
        boolean begins = true;
        for (int c : s.codePoints().toArray()) {
            out.appendCodePoint(begins ? Character.toTitleCase(c) : Character.toLowerCase(c));
            begins = separates.test(c);
        }
        return out.toString();
    }

    String join(List<Object> items, String between) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < items.size(); i++) {
            String item = Arguments.text(items.get(i));
            budget.spend((long) item.length() + between.length());
            out.append(i == 0 ? "" : between).append(item);
        }
        return out.toString();
    }

    private static Long place(String s, int at) {
        return at < 0 ? -1L : s.codePointCount(0, at);
    }

    private static boolean all(String s, IntPredicate test) {
        return !s.isEmpty() && s.codePoints().allMatch(test);
    }
}
