// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.function.Predicate;

/// One object of config.json. Everything that llmc computes with is read here, with its type and
/// its range: a number in quotes is no number, nor is NaN, and nothing is rounded or cut to fit.
///
/// Where a key is left out, it has the value that transformers gives it. A value of another type
/// than asked for, null among them, or out of its range, is a [FormatException] that names the key:
/// whoever reads a key that may be null asks [#has] first.
///
/// @param path of the object in the file, as `rope_scaling.`; empty for the file itself
/// @param asked hears of every key that somebody asks for, with its path
public record ConfigSection(Path file, String path, ObjectNode values, Consumer<String> asked) {
    private static final Consumer<String> NOBODY = _ -> {};

    public ConfigSection(Path file, String path, ObjectNode values) {
        this(file, path, values, NOBODY);
    }

    /// The same, whose keys are reported when they are asked for.
    ConfigSection watched(Consumer<String> listener) {
        return new ConfigSection(file, path, values, listener);
    }

    /// The same with other values.
    ConfigSection with(ObjectNode others) {
        return new ConfigSection(file, path, others, asked);
    }

    /// Whether the key is there and not null.
    public boolean has(String key) {
        asked.accept(path + key);
        return values.hasNonNull(key);
    }

    /// Whether the key is there, be it null.
    public boolean mentions(String key) {
        asked.accept(path + key);
        return values.has(key);
    }

    /// The one that is there, else the first.
    String firstOf(String key, String other) {
        return has(key) || !has(other) ? key : other;
    }

    public int integer(String key, Range range) {
        return whole(key, required(key, "a whole number" + range.description()), range);
    }

    public int integer(String key, Range range, int absent) {
        return mentions(key) ? integer(key, range) : absent;
    }

    public double decimal(String key, Range range, double absent) {
        return mentions(key) ? decimal(key, range) : absent;
    }

    public boolean flag(String key, boolean absent) {
        return mentions(key) ? flag(key) : absent;
    }

    public String text(String key, String absent) {
        return mentions(key) ? text(key) : absent;
    }

    public double decimal(String key, Range range) {
        return number(key, required(key, "a number" + range.description()), range);
    }

    public boolean flag(String key) {
        return typed(key, JsonNode::isBoolean, "true or false").booleanValue();
    }

    public String text(String key) {
        return typed(key, JsonNode::isTextual, "a string").textValue();
    }

    /// Empty where absent; a single number is a list of one, as in `eos_token_id`.
    public List<Integer> integers(String key, Range range) {
        if (!has(key)) {
            return List.of();
        }
        JsonNode value = values.get(key);
        if (value.isNumber()) {
            return List.of(whole(key, value, range));
        }
        List<Integer> list = new ArrayList<>();
        typed(key, JsonNode::isArray, "whole numbers").forEach(n -> list.add(whole(key, n, range)));
        return List.copyOf(list);
    }

    double[] decimals(String key, Range range) {
        return typed(key, JsonNode::isArray, "a list of numbers" + range.description())
                .valueStream()
                .mapToDouble(n -> number(key, n, range))
                .toArray();
    }

    /// Empty where absent; a single string is a list of one.
    public List<String> texts(String key) {
        if (!has(key)) {
            return List.of();
        }
        JsonNode value = values.get(key);
        if (value.isTextual()) {
            return List.of(value.textValue());
        }
        if (!value.isArray() || !value.valueStream().allMatch(JsonNode::isTextual)) {
            throw wrong(key, "a list of strings");
        }
        return value.valueStream().map(JsonNode::textValue).toList();
    }

    /// One of some words, whatever the case of its letters.
    public String word(String key, String absent, Set<String> known) {
        String text = text(key, absent);
        String word = text == null ? null : text.toLowerCase(Locale.ROOT);
        if (word != null && !known.contains(word)) {
            throw wrong(key, "one of " + String.join(", ", new TreeSet<>(known)));
        }
        return word;
    }

    /// The same object where null means that a key is left out.
    public ConfigSection withoutNulls() {
        ObjectNode copy = values.deepCopy();
        copy.removeNulls();
        return with(copy);
    }

    /// Empty where absent.
    public Optional<ConfigSection> optional(String key) {
        return has(key) ? Optional.of(section(key).withoutNulls()) : Optional.empty();
    }

    public ObjectNode object(String key) {
        return (ObjectNode) typed(key, JsonNode::isObject, "an object");
    }

    /// As [#section], with other values.
    ConfigSection within(String key, ObjectNode others) {
        return new ConfigSection(file, path + key + ".", others, asked);
    }

    ConfigSection section(String key) {
        return within(key, object(key));
    }

    private int whole(String key, JsonNode value, Range range) {
        double number = value.doubleValue();
        if (!value.isNumber() || number != (int) number || !range.holds(number)) {
            throw wrong(key, "a whole number" + range.description());
        }
        return (int) number;
    }

    private double number(String key, JsonNode value, Range range) {
        if (!value.isNumber() || !range.holds(value.doubleValue())) {
            throw wrong(key, "a number" + range.description());
        }
        return value.doubleValue();
    }

    private JsonNode typed(String key, Predicate<JsonNode> fits, String expected) {
        JsonNode value = required(key, expected);
        if (!fits.test(value)) {
            throw wrong(key, expected);
        }
        return value;
    }

    private JsonNode required(String key, String expected) {
        if (!mentions(key)) {
            throw wrong(key, expected);
        }
        return values.get(key);
    }

    /// @param expected as in "a number above 0"
    public FormatException wrong(String key, String expected) {
        if (!values.has(key)) {
            return new FormatException(
                    file, "has no '%s%s', expected %s".formatted(path, key, expected));
        }
        String value = String.valueOf(values.get(key));
        return new FormatException(
                file,
                "'%s%s' is %s, expected %s"
                        .formatted(
                                path,
                                key,
                                value.length() > 80 ? value.substring(0, 80) + "..." : value,
                                expected));
    }
}
