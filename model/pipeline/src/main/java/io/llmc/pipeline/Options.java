// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.math.BigDecimal;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;

/// One mapping of a recipe, read strictly: a key that nobody asked for is an error that names the
/// nearest key somebody did ask for.
///
/// Values are what YAML and JSON know: maps, lists, strings, numbers, booleans. Keys are in
/// camelCase, as `groupSize`; `group_size` and `group-size` are understood too.
public final class Options {
    private final String path;
    private final SequencedMap<String, Object> values;
    private final UnaryOperator<String> location;
    private final Set<String> asked = new LinkedHashSet<>();
    private final List<Options> sections = new ArrayList<>();

    /// @param path where this mapping stands in the recipe: `steps[0].sweep[1].gptq`; empty for the
    ///   root
    /// @param location turns such a path into what a person looks for: `recipe.yaml:12`
    public Options(String path, Map<String, ?> values, UnaryOperator<String> location) {
        this.path = path;
        this.values = new LinkedHashMap<>();
        this.location = location;
        values.forEach((key, value) -> this.values.put(camel(key), value));
    }

    public static Options of(Map<String, ?> values) {
        return new Options("", values, path -> path.isEmpty() ? "recipe" : path);
    }

    /// A key as recipes spell it: `group-size` and `group_size` are `groupSize`.
    public static String camel(String key) {
        StringBuilder camel = new StringBuilder();
        boolean upper = false;
        for (char c : key.toCharArray()) {
            if (c == '-' || c == '_') {
                upper = true;
            } else {
                camel.append(upper ? Character.toUpperCase(c) : c);
                upper = false;
            }
        }
        return camel.toString();
    }

    public boolean has(String key) {
        asked.add(key);
        return values.get(key) != null;
    }

    public Set<String> keys() {
        return values.keySet();
    }

    public String path() {
        return path;
    }

    private String pathOf(String key) {
        return path.isEmpty() ? key : path + "." + key;
    }

    /// The error that names a key's place.
    public RecipeException error(String key, String message) {
        return new RecipeException(location.apply(pathOf(key)), message);
    }

    private Optional<Object> get(String key) {
        asked.add(key);
        return Optional.ofNullable(values.get(key));
    }

    /// A value as it was written.
    public Optional<Object> value(String key) {
        return get(key);
    }

    /// Other values in this mapping's place, for another reader: errors name the same places.
    public Options with(Map<String, ?> others) {
        Options other = new Options(path, others, location);
        sections.add(other);
        return other;
    }

    /// Both mappings as one, in which these values stand in the place of `base`'s; errors name the
    /// places of each.
    public Options over(Options base) {
        SequencedMap<String, Object> all = new LinkedHashMap<>(base.values);
        all.putAll(values);
        return new Options(
                path,
                all,
                at ->
                        base.values.containsKey(top(at)) && !values.containsKey(top(at))
                                ? base.location.apply(at)
                                : location.apply(at));
    }

    /// The first key of a path in this mapping.
    private String top(String at) {
        String inside =
                path.isEmpty() ? at : at.substring(Math.min(at.length(), path.length() + 1));
        return inside.split("[.\\[]", 2)[0];
    }

    private RecipeException wrong(String key, Object value, String expected) {
        return error(key, "%s is %s, expected %s".formatted(key, value, expected));
    }

    public int integer(String key, int absent) {
        return get(key).map(v -> asInt(key, v)).orElse(absent);
    }

    private int asInt(String key, Object v) {
        if (v instanceof Number n && n.doubleValue() == n.intValue()) {
            return n.intValue();
        }
        try {
            return Integer.parseInt(v.toString());
        } catch (NumberFormatException e) {
            throw wrong(key, v, "a whole number");
        }
    }

    public long whole(String key, long absent) {
        return get(key).map(v -> asLong(key, v)).orElse(absent);
    }

    private long asLong(String key, Object v) {
        try {
            return v instanceof Long n ? n : new BigDecimal(v.toString()).longValueExact();
        } catch (ArithmeticException | NumberFormatException e) {
            throw wrong(key, v, "a whole number");
        }
    }

    /// Finite.
    public double decimal(String key, double absent) {
        return get(key).map(v -> asDouble(key, v)).orElse(absent);
    }

    private double asDouble(String key, Object v) {
        try {
            double value = Double.parseDouble(v.toString());
            if (Double.isFinite(value)) {
                return value;
            }
        } catch (NumberFormatException e) {
            // falls through to the one sentence below
        }
        throw wrong(key, v, "a number");
    }

    /// Bytes, as [ByteSize#parse] reads them.
    public long size(String key, String absent) {
        String text = text(key, absent);
        try {
            return ByteSize.parse(text);
        } catch (IllegalArgumentException e) {
            throw error(key, e.getMessage());
        }
    }

    /// A file or directory.
    ///
    /// @throws RecipeException where the key is missing, or no file can be called so
    public Path path(String key) {
        return path(key, text(key));
    }

    /// @param absent may be null
    public Path path(String key, Path absent) {
        String text = text(key, null);
        return text == null ? absent : path(key, text);
    }

    /// The path that a part of a value names.
    public Path path(String key, String text) {
        if (text.isEmpty()) {
            throw error(key, key + " is empty, expected a file or directory");
        }
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            throw error(
                    key,
                    "%s is %s, which no file can be called here: %s"
                            .formatted(key, text, e.getReason()));
        }
    }

    public boolean flag(String key, boolean absent) {
        return get(key).map(v ->
                        switch (v.toString()) {
                            case "true" -> true;
                            case "false" -> false;
                            default -> throw wrong(key, v, "true or false");
                        })
                .orElse(absent);
    }

    public String text(String key, String absent) {
        return get(key).map(
                        v -> {
                            if (v instanceof Map || v instanceof List) {
                                throw wrong(key, v, "a text");
                            }
                            return v.toString();
                        })
                .orElse(absent);
    }

    /// @throws RecipeException where the key is missing
    public String text(String key) {
        String value = text(key, null);
        if (value == null) {
            throw error(key, key + " is missing");
        }
        return value;
    }

    /// A list, or a single value as a list of one.
    public List<String> texts(String key) {
        return get(key).map(v ->
                        (v instanceof List<?> list ? list : List.of(v))
                                .stream().map(item -> item(key, item)).toList())
                .orElse(List.of());
    }

    private String item(String key, Object item) {
        if (item == null || item instanceof Map || item instanceof List) {
            throw wrong(key, item, "a text, or a list of texts");
        }
        return item.toString();
    }

    /// A list of whole numbers; empty where the key is absent.
    public List<Integer> integers(String key) {
        return texts(key).stream()
                .map(text -> {
                    try {
                        return Integer.parseInt(text);
                    } catch (NumberFormatException e) {
                        throw wrong(key, text, "a list of whole numbers");
                    }
                })
                .toList();
    }

    public <E extends Enum<E>> E choice(String key, Class<E> type, E absent) {
        return get(key).map(v ->
                        Arrays.stream(type.getEnumConstants())
                                .filter(e -> spelling(e).equals(v.toString()))
                                .findFirst()
                                .orElseThrow(() -> wrong(key, v, oneOf(type))))
                .orElse(absent);
    }

    private static String oneOf(Class<? extends Enum<?>> type) {
        return Arrays.stream(type.getEnumConstants())
                .map(Options::spelling)
                .collect(Collectors.joining(", ", "one of ", ""));
    }

    /// An enum constant as recipes and flags spell it: `STATIC` is `static`.
    public static String spelling(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /// A nested mapping; empty where the key is absent.
    public Options section(String key) {
        return nested(pathOf(key), get(key).orElse(Map.of()), key);
    }

    /// A list of mappings; empty where the key is absent.
    public List<Options> sections(String key) {
        Object value = get(key).orElse(List.of());
        if (!(value instanceof List<?> list)) {
            throw wrong(key, value, "a list");
        }
        List<Options> all = new ArrayList<>();
        for (int i = 0; i < list.size(); i++) {
            all.add(nested(pathOf(key) + "[" + i + "]", list.get(i), key));
        }
        return all;
    }

    private Options nested(String nestedPath, Object value, String key) {
        if (!(value instanceof Map<?, ?> map)) {
            throw wrong(key, value, "a mapping");
        }
        SequencedMap<String, Object> copy = new LinkedHashMap<>();
        map.forEach((k, v) -> copy.put(k.toString(), v));
        Options section = new Options(nestedPath, copy, location);
        sections.add(section);
        return section;
    }

    /// Call once everything has been read.
    ///
    /// @throws RecipeException for the first key, here or in a section, that nothing read
    public void finish() {
        for (String key : values.keySet()) {
            if (!asked.contains(key)) {
                throw error(key, "unknown key " + key + nearest(key));
            }
        }
        sections.forEach(Options::finish);
    }

    private String nearest(String key) {
        return nearest(key, asked)
                .map(best -> "; did you mean " + best + "?")
                .orElse("; known: " + asked);
    }

    /// The name that differs from `key` by the fewest edits, if any is near.
    public static Optional<String> nearest(String key, Set<String> names) {
        String best = null;
        int least = Math.max(2, key.length() / 2) + 1;
        for (String name : names) {
            int distance = edits(key.toLowerCase(Locale.ROOT), name.toLowerCase(Locale.ROOT));
            if (distance < least) {
                least = distance;
                best = name;
            }
        }
        return Optional.ofNullable(best);
    }

    private static int edits(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int above = row[j];
                int change = a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1;
                row[j] = Math.min(Math.min(above, row[j - 1]) + 1, diagonal + change);
                diagonal = above;
            }
        }
        return row[b.length()];
    }
}
