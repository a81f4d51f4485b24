// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.Setting;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// A recipe as nested maps and lists, and where each of its values came from: a flag, or a file's
/// line.
///
/// A path names a value: `steps.0.sweep.0.gptq.bits`.
final class RecipeTree {
    private final SequencedMap<String, Object> root;
    private final Map<String, String> places;
    private final String name;

    /// An empty tree.
    RecipeTree(String name) {
        this(name, new LinkedHashMap<>(), new HashMap<>());
    }

    /// @param name what to name where a value's own place is not known
    /// @param root mutable, down to its leaves
    /// @param places what to name for each path
    RecipeTree(String name, SequencedMap<String, Object> root, Map<String, String> places) {
        this.name = name;
        this.root = root;
        this.places = places;
    }

    Map<String, Object> root() {
        return Collections.unmodifiableMap(root);
    }

    /// For the strict reader, whose errors then name the places.
    Options options() {
        return new Options("", root, path -> place(path.replace("[", ".").replace("]", "")));
    }

    /// Puts the settings that were given into a section.
    void putAll(String section, List<Setting> settings) {
        for (Setting s : settings) {
            put(section.isEmpty() ? s.key() : section + "." + s.key(), s.value(), s.flag());
        }
    }

    /// Puts one value; mappings and lists on the way to it are made where they are missing.
    ///
    /// @param value null changes nothing
    void put(String path, Object value, String place) {
        if (value == null) {
            return;
        }
        List<String> keys = keys(path);
        Object at = root;
        for (int i = 0; i + 1 < keys.size(); i++) {
            Object next = child(at, keys.get(i), place);
            if (!(next instanceof Map) && !(next instanceof List)) {
                next = isIndex(keys.get(i + 1)) ? new ArrayList<>() : new LinkedHashMap<>();
                store(at, keys.get(i), next, place);
            }
            at = next;
        }
        store(at, keys.getLast(), value, place);
        places.put(String.join(".", keys), place);
    }

    /// Names the place of something that is missing.
    void expect(String path, String place) {
        places.putIfAbsent(String.join(".", keys(path)), place);
    }

    private static List<String> keys(String path) {
        return Arrays.stream(path.split("\\.", -1)).map(Options::camel).toList();
    }

    /// `key=value`, the value in YAML.
    ///
    /// @param section the key is relative to it; empty for the root
    void set(String section, String assignment) {
        int equals = assignment.indexOf('=');
        if (equals < 1) {
            throw new RecipeException("--set " + assignment, "expected key=value");
        }
        String key = assignment.substring(0, equals).strip();
        String path = section.isEmpty() ? key : section + "." + key;
        put(
                path,
                RecipeFile.value(assignment.substring(equals + 1), "--set " + key),
                "--set " + key);
    }

    /// The place of a path, or of the nearest mapping around it that has one.
    private String place(String path) {
        String at = path;
        while (!at.isEmpty()) {
            String place = places.get(at);
            if (place != null) {
                return place;
            }
            at = at.substring(0, Math.max(0, at.lastIndexOf('.')));
        }
        return path.isEmpty() ? name : places.getOrDefault("", name);
    }

    private static boolean isIndex(String key) {
        return !key.isEmpty()
                && key.chars().allMatch(c -> c >= '0' && c <= '9')
                && key.length() < 6;
    }

    private static Object child(Object at, String key, String place) {
        return switch (at) {
            case Map<?, ?> map -> map.get(key);
            case List<?> list -> {
                int index = index(list, key, place);
                yield index < list.size() ? list.get(index) : null;
            }
            default -> throw new IllegalStateException("neither mapping nor list: " + at);
        };
    }

    @SuppressWarnings("unchecked") // trees are made of such maps and lists only
    private static void store(Object at, String key, Object value, String place) {
        if (at instanceof Map<?, ?> map) {
            ((Map<String, Object>) map).put(key, value);
            return;
        }
        List<Object> list = (List<Object>) at;
        int index = index(list, key, place);
        if (index == list.size()) {
            list.add(value);
        } else {
            list.set(index, value);
        }
    }

    private static int index(List<?> list, String key, String place) {
        if (!isIndex(key) || Integer.parseInt(key) > list.size()) {
            throw new RecipeException(
                    place,
                    "\"%s\" is not an item of a list of %d; the first is 0"
                            .formatted(key, list.size()));
        }
        return Integer.parseInt(key);
    }
}
