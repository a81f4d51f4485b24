// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.Solver;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.SequencedSet;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// What a layout is asked to write, known before any weight is read: its config entries, or why it
/// cannot, follow from this.
///
/// @param schemes of the layers that are quantized
/// @param solved which method quantizes which of them, in the order of work
/// @param plain names of linear layers that stay as they are, the head included
/// @param place where the model stands among others in its checkpoint
/// @param modelType as the model's config has it
/// @param embedding name of the token embedding where it is among `schemes`; null where it is plain
/// @param conv1d weights are stored `[in, out]`, as GPT-2's Conv1D layers do
public record QuantPlan(
        Schemes schemes,
        List<Solved> solved,
        List<String> plain,
        Place place,
        String modelType,
        String embedding,
        boolean conv1d) {
    public QuantPlan {
        solved = List.copyOf(solved);
        plain = List.copyOf(plain);
    }

    /// Of linear layers alone.
    public QuantPlan(
            Schemes schemes,
            List<Solved> solved,
            List<String> plain,
            String modelType,
            boolean conv1d) {
        this(schemes, solved, plain, Place.ALONE, modelType, null, conv1d);
    }

    /// Where a text decoder stands in a checkpoint. Readers give the parts of a model other
    /// prefixes in memory than its files have: what is said of a part must hold under any.
    ///
    /// @param root what the decoder's names begin with in the files; empty where readers know it by
    ///   the same names
    /// @param parts names of what stands beside the decoder, as `visual`
    public record Place(Optional<String> root, List<String> parts) {
        public static final Place ALONE = new Place(Optional.empty(), List.of());

        /// What comes before a name in any reader.
        private static final String ANY = "(?:.*\\.)?";

        public Place {
            parts = List.copyOf(parts);
        }

        private String prefix() {
            return root.isPresent() ? "^" + ANY : "^";
        }

        private String rest(String name) {
            if (root.isEmpty()) {
                return name;
            }
            return name.startsWith(root.get())
                    ? name.substring(root.get().length())
                    : name.substring(name.lastIndexOf('.') + 1);
        }
    }

    /// What stays as it is, as a config names it: a name, or a regular expression that matches it
    /// from its beginning.
    public record Untouched(String text, boolean isPattern) {
        public String pattern() {
            return isPattern ? text : "^" + escaped(text) + "$";
        }
    }

    /// All that no layer of a config's groups is.
    public List<Untouched> untouched() {
        List<Untouched> all = new ArrayList<>();
        Set<String> packed =
                schemes.byLinear().keySet().stream()
                        .map(QuantPlan::counted)
                        .collect(Collectors.toSet());
        for (String name : plain) {
            String rest = place.rest(name);
            all.add(
                    place.root.isEmpty()
                            ? new Untouched(name, false)
                            : new Untouched(
                                    pattern(
                                            packed.contains(counted(name))
                                                    ? escaped(rest)
                                                    : counted(rest)),
                                    true));
        }
        for (String part : place.parts) {
            all.add(new Untouched("^" + Place.ANY + escaped(part) + "(?:\\.|$)", true));
        }
        return all.stream().distinct().toList();
    }

    /// Parts of names that no packed layer has, for configs that know no patterns.
    public List<String> untouchedParts() {
        return Stream.concat(plain.stream().map(place::rest), place.parts.stream())
                .distinct()
                .toList();
    }

    private String pattern(String rest) {
        return place.prefix() + rest + "$";
    }

    /// Whether all layers of a group are linear layers.
    public boolean linear(Group group) {
        return embedding == null || !group.linears.contains(embedding);
    }

    /// @param linears that the solver works on
    public record Solved(Solver solver, Set<String> linears) {}

    /// Layers that one entry of a config can describe.
    ///
    /// @param solver the last that works on one of them
    public record Group(Scheme scheme, Solver solver, List<String> linears) {}

    public boolean isEmpty() {
        return schemes.byLinear().isEmpty();
    }

    /// Layers of one scheme, with or without a group index, in the order of the first of each.
    public List<Group> groups() {
        record Key(Scheme scheme, boolean groupIndex) {}
        SequencedMap<Key, List<String>> byKey = new LinkedHashMap<>();
        schemes.byLinear()
                .forEach((linear, scheme) ->
                        byKey.computeIfAbsent(
                                        new Key(scheme, solver(List.of(linear)).groupIndex()),
                                        _ -> new ArrayList<>())
                                .add(linear));
        return byKey.entrySet().stream()
                .map(e -> new Group(e.getKey().scheme, solver(e.getValue()), e.getValue()))
                .toList();
    }

    private Solver solver(List<String> linears) {
        return solved.reversed().stream()
                .filter(s -> linears.stream().anyMatch(s.linears::contains))
                .findFirst()
                .orElseThrow()
                .solver;
    }

    /// Regular expressions that match the layers of a group and no other linear layer. Layers that
    /// differ in numbers alone share one, where the group has all of them.
    ///
    /// @param fused whether the names by which vLLM loads several layers as one are matched, too
    public List<String> patterns(Group group, boolean fused) {
        Set<String> others = new LinkedHashSet<>(schemes.byLinear().keySet());
        others.addAll(plain);
        group.linears.forEach(others::remove);
        Set<String> shared =
                names(others, fused).stream().map(QuantPlan::counted).collect(Collectors.toSet());
        return names(group.linears, fused).stream()
                .map(name ->
                        shared.contains(counted(name))
                                ? escaped(place.rest(name))
                                : counted(place.rest(name)))
                .distinct()
                .map(this::pattern)
                .toList();
    }

    /// Layers that vLLM loads as one, whose own name then is the only one that it looks up.
    private static final Map<String, List<String>> FUSED =
            Map.of(
                    "qkv_proj", List.of("q_proj", "k_proj", "v_proj"),
                    "gate_up_proj", List.of("gate_proj", "up_proj"));

    private static SequencedSet<String> names(Iterable<String> linears, boolean fused) {
        SequencedSet<String> names = new LinkedHashSet<>();
        linears.forEach(names::add);
        for (String linear : fused ? List.copyOf(names) : List.<String>of()) {
            String parent = linear.substring(0, linear.lastIndexOf('.') + 1);
            FUSED.forEach((one, parts) -> {
                if (linear.equals(parent + parts.getFirst())
                        && parts.stream().allMatch(p -> names.contains(parent + p))) {
                    names.add(parent + one);
                }
            });
        }
        return names;
    }

    /// A pattern for all names that differ from this one in numbers between dots.
    private static String counted(String name) {
        return Pattern.compile("\\.")
                .splitAsStream(name)
                .map(part -> part.matches("\\d+") ? "\\d+" : escaped(part))
                .collect(Collectors.joining("\\."));
    }

    /// A name as a regular expression, for Python as for anyone.
    public static String escaped(String name) {
        return Pattern.compile("[^A-Za-z0-9_]").matcher(name).replaceAll("\\\\$0");
    }
}
