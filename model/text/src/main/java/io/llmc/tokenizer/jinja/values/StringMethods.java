// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// Python's methods of strings.
public record StringMethods(Budget budget) {
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
                    "swapcase",
                    "casefold",
                    "join",
                    "find",
                    "rfind",
                    "index",
                    "rindex",
                    "count",
                    "isdigit",
                    "isdecimal",
                    "isnumeric",
                    "isalpha",
                    "isalnum",
                    "isspace",
                    "isupper",
                    "islower",
                    "isascii",
                    "isprintable",
                    "removeprefix",
                    "removesuffix",
                    "partition",
                    "rpartition",
                    "zfill",
                    "center",
                    "ljust",
                    "rjust",
                    "format",
                    "expandtabs");

    /// Those that Python has beyond them.
    static final Set<String> UNKNOWN =
            Set.of("encode", "format_map", "isidentifier", "istitle", "maketrans", "translate");

    Object apply(String s, String name, Arguments given) {
        budget.spend(s.length());
        return switch (name) {
            case "strip" -> strip(s, chars(given), true, true);
            case "lstrip" -> strip(s, chars(given), true, false);
            case "rstrip" -> strip(s, chars(given), false, true);
            case "split" -> split(s, given.named(0, "sep", "maxsplit"), false);
            case "rsplit" -> split(s, given.named(0, "sep", "maxsplit"), true);
            case "splitlines" ->
                    new ArrayList<Object>(lines(s, given.named(0, "keepends").flag(0, "keepends")));
            case "startswith" -> begins(s, given.positional(1, 3), false);
            case "endswith" -> begins(s, given.positional(1, 3), true);
            case "replace" -> {
                given.named(2, "old", "new", "count").positional(2, 3);
                yield replace(s, given.text(0), given.text(1), given.whole(2, "count", -1));
            }
            case "join" -> join(new Sequences(budget).items(given.positional(1, 1).get(0)), s);
            case "find", "rfind", "index", "rindex" -> place(s, name, given.positional(1, 3));
            case "count" -> count(s, given.positional(1, 1).text(0));
            case "removeprefix" -> {
                String prefix = given.positional(1, 1).text(0);
                yield s.startsWith(prefix) ? s.substring(prefix.length()) : s;
            }
            case "removesuffix" -> {
                String suffix = given.positional(1, 1).text(0);
                yield s.endsWith(suffix) ? s.substring(0, s.length() - suffix.length()) : s;
            }
            case "partition" -> partition(s, given.positional(1, 1).text(0), false);
            case "rpartition" -> partition(s, given.positional(1, 1).text(0), true);
            case "zfill" -> zeros(s, given.positional(1, 1).whole(0, "", 0));
            case "center", "ljust", "rjust" -> padded(s, name, given.positional(1, 2));
            case "format" -> new Formatting(budget).braces(s, given);
            case "expandtabs" -> expanded(s, given.named(0, "tabsize").whole(0, "tabsize", 8));
            default -> {
                given.positional(0, 0);
                yield Letters.apply(s, name);
            }
        };
    }

    private static Object chars(Arguments given) {
        return given.positional(0, 1).args().isEmpty() ? null : given.get(0);
    }

    public static String strip(String s, Object chars, boolean start, boolean end) {
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

    private static List<Object> split(String s, Arguments given, boolean fromEnd) {
        Object separator = given.get(0, "sep", null);
        long most = given.whole(1, "maxsplit", -1);
        if (separator == null) {
            return fromEnd ? wordsFromEnd(s, most) : words(s, most);
        }
        String sep = Arguments.text(separator);
        if (sep.isEmpty()) {
            throw new Refusal("an empty string separates nothing");
        }
        return fromEnd && most >= 0 ? partsFromEnd(s, sep, most) : parts(s, sep, most);
    }

    private static List<Object> words(String s, long most) {
        List<Object> parts = new ArrayList<>();
        long left = most < 0 ? Long.MAX_VALUE : most;
        int at = Spaces.skip(s, 0);
        while (at < s.length()) {
            if (left-- == 0) {
                parts.add(Spaces.stripEnd(s.substring(at)));
                break;
            }
            int end = at;
            while (end < s.length() && !Spaces.is(s.charAt(end))) {
                end++;
            }
            parts.add(s.substring(at, end));
            at = Spaces.skip(s, end);
        }
        return parts;
    }

    private static List<Object> wordsFromEnd(String s, long most) {
        String back = new StringBuilder(s).reverse().toString();
        List<Object> parts = words(back, most);
        parts.replaceAll(p -> new StringBuilder((String) p).reverse().toString());
        Collections.reverse(parts);
        return parts;
    }

    private static List<Object> parts(String s, String sep, long most) {
        List<Object> parts = new ArrayList<>();
        long left = most < 0 ? Long.MAX_VALUE : most;
        int from = 0;
        for (int at = s.indexOf(sep); at >= 0 && left-- > 0; at = s.indexOf(sep, from)) {
            parts.add(s.substring(from, at));
            from = at + sep.length();
        }
        parts.add(s.substring(from));
        return parts;
    }

    private static List<Object> partsFromEnd(String s, String sep, long most) {
        List<Object> parts = new ArrayList<>();
        long left = most;
        int end = s.length();
        for (int at = s.lastIndexOf(sep); at >= 0 && left-- > 0; at = last(s, sep, end)) {
            parts.add(s.substring(at + sep.length(), end));
            end = at;
        }
        parts.add(s.substring(0, end));
        Collections.reverse(parts);
        return parts;
    }

    private static int last(String s, String sep, int end) {
        return end < sep.length() ? -1 : s.lastIndexOf(sep, end - sep.length());
    }

    /// The lines, without what ends them; Python knows more ends than Java.
    static List<String> lines(String s, boolean keepEnds) {
        List<String> lines = new ArrayList<>();
        int from = 0;
        for (int i = 0; i < s.length(); i++) {
            if ("\n\r\u000b\f\u001c\u001d\u001e\u0085\u2028\u2029".indexOf(s.charAt(i)) >= 0) {
                int end = s.startsWith("\r\n", i) ? i + 2 : i + 1;
                lines.add(s.substring(from, keepEnds ? end : i));
                from = end;
                i = end - 1;
            }
        }
        if (from < s.length()) {
            lines.add(s.substring(from));
        }
        return lines;
    }

    private boolean begins(String s, Arguments given, boolean ends) {
        String part = s;
        if (given.args().size() > 1) {
            part = part(s, given);
            if (part == null) {
                return false;
            }
        }
        Object given0 = given.get(0);
        List<Object> any = given0 instanceof Values.Tuple t ? t.items() : null;
        if (any == null) {
            return ends
                    ? part.endsWith(Arguments.text(given0))
                    : part.startsWith(Arguments.text(given0));
        }
        boolean found = false;
        for (Object one : any) {
            String text = Arguments.text(one);
            found |= ends ? part.endsWith(text) : part.startsWith(text);
            if (found) {
                break;
            }
        }
        return found;
    }

    /// `s[start:end]` of the second and third argument; null where the start lies behind the end of
    /// the string.
    private String part(String s, Arguments given) {
        Long start = given.get(1, "", null) == null ? (Long) 0L : (Long) given.whole(1, "", 0);
        Long end = given.get(2, "", null) == null ? null : (Long) given.whole(2, "", 0);
        if (start > s.codePointCount(0, s.length())) {
            return null;
        }
        return (String) new Sequences(budget).slice(s, start, end, null);
    }

    private Long place(String s, String method, Arguments given) {
        String what = given.text(0);
        String part = given.args().size() > 1 ? part(s, given) : s;
        int at =
                part == null
                        ? -1
                        : method.startsWith("r") ? part.lastIndexOf(what) : part.indexOf(what);
        if (at < 0 && method.endsWith("index")) {
            throw new Refusal("a substring is not found");
        }
        if (at < 0) {
            return -1L;
        }
        long length = s.codePointCount(0, s.length());
        long start = given.args().size() > 1 && given.get(1) != null ? given.whole(1, "", 0) : 0;
        return part.codePointCount(0, at) + Math.max(0, start < 0 ? start + length : start);
    }

    private static Long count(String s, String what) {
        return what.isEmpty()
                ? s.codePointCount(0, s.length()) + 1L
                : parts(s, what, -1).size() - 1L;
    }

    private static Object partition(String s, String sep, boolean last) {
        if (sep.isEmpty()) {
            throw new Refusal("an empty string separates nothing");
        }
        int at = last ? s.lastIndexOf(sep) : s.indexOf(sep);
        return at < 0
                ? last ? Values.Tuple.of("", "", s) : Values.Tuple.of(s, "", "")
                : Values.Tuple.of(s.substring(0, at), sep, s.substring(at + sep.length()));
    }

    private String blanks(String fill, long count) {
        long n = Math.max(0, count);
        budget.spend(n);
        return fill.repeat((int) n);
    }

    private String zeros(String s, long width) {
        int sign = s.startsWith("-") || s.startsWith("+") ? 1 : 0;
        return s.substring(0, sign)
                + blanks("0", width - s.codePointCount(0, s.length()))
                + s.substring(sign);
    }

    private String padded(String s, String how, Arguments given) {
        String fill = given.args().size() > 1 ? given.text(1) : " ";
        if (fill.codePointCount(0, fill.length()) != 1) {
            throw new Refusal("strings are filled with one character");
        }
        return padded(s, how, given.whole(0, "", 0), fill);
    }

    String padded(String s, String how, long width, String fill) {
        long missing = Math.max(0, width - s.codePointCount(0, s.length()));
        long left =
                switch (how) {
                    case "ljust" -> 0;
                    case "rjust" -> missing;
                    default -> missing / 2 + (missing & width & 1);
                };
        return blanks(fill, left) + s + blanks(fill, missing - left);
    }

    private String expanded(String s, long size) {
        StringBuilder out = new StringBuilder();
        long column = 0;
        for (int c : s.codePoints().toArray()) {
            if (c == '\t') {
                String blanks = size > 0 ? blanks(" ", size - column % size) : "";
                out.append(blanks);
                column += blanks.length();
            } else {
                out.appendCodePoint(c);
                column = c == '\n' || c == '\r' ? 0 : column + 1;
            }
        }
        return out.toString();
    }

    String replace(String s, String old, String now, long most) {
        if (old.isEmpty()) {
            return between(s, now, most);
        }
        List<Object> parts = parts(s, old, most);
        budget.spend((long) (parts.size() - 1) * now.length());
        return String.join(now, parts.stream().map(String.class::cast).toList());
    }

    /// The string with another before every character and at the end.
    private String between(String s, String now, long most) {
        long left = most < 0 ? Long.MAX_VALUE : most;
        budget.spend(Math.min(left, s.length() + 1L) * now.length());
        StringBuilder out = new StringBuilder();
        for (int c : s.codePoints().toArray()) {
            out.append(left-- > 0 ? now : "").appendCodePoint(c);
        }
        return out.append(left > 0 ? now : "").toString();
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
}
