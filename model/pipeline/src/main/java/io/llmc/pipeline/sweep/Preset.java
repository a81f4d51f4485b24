// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.pass.Pass;
import io.llmc.pipeline.pass.PassFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.stream.Collectors;

/// A chain of methods with settings, under a name that people know. An item of a sweep is one, too:
/// what stands beside `preset` goes to each method that declares it.
///
///     - preset: w4a16
///       groupSize: 64
///
/// @param summary one line for people
/// @param layout the usual one of its outputs; empty where that is the usual one of all
public record Preset(String name, String summary, List<Link> chain, Optional<String> layout) {
    /// The key of an item.
    public static final String KEY = "preset";

    /// One method of a chain.
    ///
    /// @param fixed settings that its name stands for
    /// @param usual settings that may be changed
    public record Link(String method, Map<String, Object> fixed, Map<String, Object> usual) {
        public Link(String method) {
            this(method, Map.of(), Map.of());
        }

        /// With one more that its name stands for.
        public Link fixed(String key, Object value) {
            return new Link(method, with(fixed, key, value), usual);
        }

        /// With one more that may be changed.
        public Link usual(String key, Object value) {
            return new Link(method, fixed, with(usual, key, value));
        }

        private static Map<String, Object> with(Map<String, Object> a, String key, Object value) {
            Map<String, Object> b = new LinkedHashMap<>(a);
            b.put(key, value);
            return b;
        }
    }

    /// What became of a preset in a sweep.
    ///
    /// @param methods with their settings, as items of a sweep
    public record Use(Preset preset, List<Map<String, Object>> methods) {}

    /// A chain that is written in the usual layout.
    public static Preset of(String name, String summary, Link... chain) {
        return new Preset(name, summary, List.of(chain), Optional.empty());
    }

    public Preset in(String usualLayout) {
        return new Preset(name, summary, chain, Optional.of(usualLayout));
    }

    /// Its passes as an item asks for them.
    ///
    /// @param methods every method there is
    /// @param passes receives them in order
    /// @throws RecipeException where the item contradicts the name, or has what no method takes
    public Use expand(Options item, List<PassFactory> methods, List<Pass> passes) {
        List<PassFactory> factories = chain.stream().map(link -> find(link, methods)).toList();
        for (String key : item.keys()) {
            boolean known =
                    factories.stream()
                            .flatMap(factory -> factory.options().stream())
                            .anyMatch(option -> option.key().equals(key));
            if (!known && !key.equals(KEY)) {
                throw item.error(
                        key, "preset %s (%s) has no %s".formatted(name, methodNames(), key));
            }
        }
        List<Map<String, Object>> used = new ArrayList<>();
        for (int i = 0; i < chain.size(); i++) {
            PassFactory factory = factories.get(i);
            SequencedMap<String, Object> settings = settings(chain.get(i), factory, item);
            used.add(Map.of(factory.name(), settings));
            passes.add(read(factory, item.with(settings)));
        }
        return new Use(this, used);
    }

    private static PassFactory find(Link link, List<PassFactory> methods) {
        return methods.stream()
                .filter(factory -> factory.name().equals(link.method))
                .findFirst()
                .orElseThrow();
    }

    private String methodNames() {
        return chain.stream().map(Link::method).collect(Collectors.joining("+"));
    }

    private SequencedMap<String, Object> settings(Link link, PassFactory factory, Options item) {
        SequencedMap<String, Object> settings = new LinkedHashMap<>(link.fixed);
        settings.putAll(link.usual);
        for (Option<?> option : factory.options()) {
            String key = option.key();
            item.value(key)
                    .ifPresent(given -> {
                        Object fixed = link.fixed.get(key);
                        if (fixed != null && !fixed.toString().equals(given.toString())) {
                            throw item.error(
                                    key,
                                    "preset %s stands for %s %s, not %s; leave it out, or name a method in the place of the preset"
                                            .formatted(name, key, fixed, given));
                        }
                        settings.put(key, given);
                    });
        }
        return settings;
    }

    private Pass read(PassFactory factory, Options settings) {
        try {
            return factory.read().apply(settings);
        } catch (RecipeException e) {
            throw e.in("preset " + name);
        }
    }
}
