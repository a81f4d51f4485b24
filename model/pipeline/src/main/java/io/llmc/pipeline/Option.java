// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.BiFunction;
import java.util.function.Predicate;

/// One option of a method or a step, declared once: recipes, the command line, its help and the
/// documentation all read this.
///
/// @param key in a recipe: `groupSize`
/// @param flag on the command line: `--group-size`; null where only recipes and `--set` reach it
/// @param label stands for the value in help: `N`
/// @param kind of words that a flag takes
/// @param values that it knows, spelled; empty where there are too many
/// @param absent what holds where it is not given; null for nothing
/// @param statedUnless commands write it into their recipe where it is not given, too, but for
///   where the option of this key is; null for never
/// @param range that values lie in
/// @param summary one sentence, whose `%s` are the value that holds where it is not given
/// @param reader of a value that is there
public record Option<T>(
        String key,
        String flag,
        String label,
        Kind kind,
        List<String> values,
        T absent,
        String statedUnless,
        Range<T> range,
        String summary,
        BiFunction<Options, String, T> reader) {

    /// What a flag's value is made of.
    public enum Kind {
        INTEGER(Integer.class),
        WHOLE(Long.class),
        DECIMAL(Double.class),
        /// What consists of digits is a number in a recipe.
        NUMBER_OR_WORD(String.class),
        TEXT(String.class),
        /// Items between commas.
        LIST(String.class),
        /// The same; one item is a text in a recipe.
        TEXTS(String.class),
        /// A flag without a value turns the option around.
        SWITCH(Boolean.class);

        private final Class<?> type;

        Kind(Class<?> type) {
            this.type = type;
        }

        public Class<?> type() {
            return type;
        }
    }

    /// @param words after "expected": `at least 1`
    public record Range<T>(String words, Predicate<T> holds) {}

    public static Option<Integer> integer(String key, Integer absent, String summary) {
        return of(key, "N", Kind.INTEGER, absent, summary, (o, k) -> o.integer(k, 0));
    }

    public static Option<Long> whole(String key, Long absent, String summary) {
        return of(key, "N", Kind.WHOLE, absent, summary, (o, k) -> o.whole(k, 0));
    }

    public static Option<Double> decimal(String key, Double absent, String summary) {
        return of(key, "X", Kind.DECIMAL, absent, summary, (o, k) -> o.decimal(k, 0));
    }

    public static Option<String> text(String key, String absent, String summary) {
        return of(key, "HOW", Kind.TEXT, absent, summary, Options::text);
    }

    public static Option<String> numberOrWord(String key, String absent, String summary) {
        return of(key, "N", Kind.NUMBER_OR_WORD, absent, summary, Options::text);
    }

    public static Option<Path> path(String key, String label, String summary) {
        return Option.<Path>of(key, label, Kind.TEXT, null, summary, Options::path);
    }

    public static Option<List<String>> list(String key, String label, String summary) {
        return of(key, label, Kind.LIST, List.of(), summary, Options::texts);
    }

    /// One text, or several.
    public static Option<List<String>> texts(String key, String label, String summary) {
        return of(key, label, Kind.TEXTS, List.of(), summary, Options::texts);
    }

    public static Option<List<Integer>> integers(String key, String summary) {
        return of(key, "LIST", Kind.LIST, List.of(), summary, Options::integers);
    }

    /// A flag turns it around.
    public static Option<Boolean> flag(String key, boolean absent, String summary) {
        return of(key, "", Kind.SWITCH, absent, summary, (o, k) -> o.flag(k, absent));
    }

    public static <E extends Enum<E>> Option<E> choice(
            String key, Class<E> type, E absent, String summary) {
        return Option.of(
                        key, "HOW", Kind.TEXT, absent, summary, (o, k) -> o.choice(k, type, absent))
                .among(
                        Arrays.stream(type.getEnumConstants())
                                .map(Options::spelling)
                                .toArray(String[]::new));
    }

    private static <T> Option<T> of(
            String key,
            String label,
            Kind kind,
            T absent,
            String summary,
            BiFunction<Options, String, T> reader) {
        return new Option<>(
                key,
                flag(key),
                label,
                kind,
                List.of(),
                absent,
                null,
                new Range<>("", _ -> true),
                summary,
                reader);
    }

    /// `groupSize` as `--group-size`; of a path, as `loss.kl`, its end.
    private static String flag(String key) {
        StringBuilder flag = new StringBuilder("--");
        for (char c : key.substring(key.lastIndexOf('.') + 1).toCharArray()) {
            if (Character.isUpperCase(c)) {
                flag.append('-');
            }
            flag.append(Character.toLowerCase(c));
        }
        return flag.toString();
    }

    /// @param label of the value in help
    public Option<T> as(String newLabel) {
        return with(flag, newLabel, values, statedUnless, range);
    }

    public Option<T> flagged(String newFlag) {
        return with(newFlag, label, values, statedUnless, range);
    }

    /// Reached by recipes and `--set` alone.
    public Option<T> withoutFlag() {
        return with(null, label, values, statedUnless, range);
    }

    /// Commands write it into their recipe where it is not given, too, unless `other` is.
    public Option<T> statedUnless(String other) {
        return with(flag, label, values, other, range);
    }

    /// @param words after "expected"
    public Option<T> within(String words, Predicate<T> holds) {
        return with(flag, label, values, statedUnless, new Range<>(words, holds));
    }

    private Option<T> among(String... known) {
        return with(flag, label, List.of(known), statedUnless, range);
    }

    private Option<T> with(
            String newFlag,
            String newLabel,
            List<String> newValues,
            String newStated,
            Range<T> newRange) {
        return new Option<>(
                key, newFlag, newLabel, kind, newValues, absent, newStated, newRange, summary,
                reader);
    }

    /// @throws RecipeException where the value is none, or outside of the range
    public T read(Options o) {
        String name = key.substring(key.lastIndexOf('.') + 1);
        T value = o.has(name) ? reader.apply(o, name) : absent;
        if (value != null && !range.holds.test(value)) {
            throw o.error(name, "%s is %s, expected %s".formatted(name, value, range.words));
        }
        return value;
    }

    /// @throws RecipeException where it is not given, too
    public T required(Options o) {
        T value = read(o);
        if (value == null || value instanceof List<?> list && list.isEmpty()) {
            throw o.error(key, key + " is missing");
        }
        return value;
    }

    @SafeVarargs
    public static List<Option<?>> join(List<? extends Option<?>>... parts) {
        List<Option<?>> all = new ArrayList<>();
        for (List<? extends Option<?>> part : parts) {
            all.addAll(part);
        }
        return List.copyOf(all);
    }

    /// The sentence that people read.
    public String text() {
        return summary.replace("%s", spelledDefault());
    }

    /// As a recipe spells what holds where it is not given; empty for nothing.
    public String spelledDefault() {
        return switch (absent) {
            case null -> "";
            case Enum<?> e -> Options.spelling(e);
            case Double d when d == Math.rint(d) && Math.abs(d) < 1e6 ->
                    Long.toString(d.longValue());
            default -> absent.toString();
        };
    }
}
