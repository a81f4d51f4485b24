// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/// Which linear layers of the blocks a pass works on, by [patterns][NamePatterns] over their names,
/// or by `Linear`, which is all of them.
///
/// @param include a layer must match one of them; empty means every layer of the blocks
/// @param ignore and none of these
/// @param skipped blocks at both ends that stay as they are
public record Targets(NamePatterns include, NamePatterns ignore, Ends skipped) {
    /// How many blocks at the beginning and at the end of a model.
    public record Ends(int first, int last) {
        static final Ends NONE = new Ends(0, 0);
    }

    public static final Targets ALL = of(List.of(), List.of());

    /// Of a pass that works on no linear layer.
    public static final Targets NONE = of(List.of(), List.of("*"));

    private static final String INCLUDE = "targets";
    private static final String IGNORE = "ignore";

    private static final Option<Integer> SKIP_FIRST =
            Option.integer(
                            "skipFirst",
                            0,
                            "Blocks at the beginning to leave as they are (default: %s).")
                    .within("at least 0", n -> n >= 0);

    private static final Option<Integer> SKIP_LAST =
            Option.integer("skipLast", 0, "Blocks at the end to leave as they are (default: %s).")
                    .within("at least 0", n -> n >= 0);

    public static final List<Option<?>> OPTIONS =
            List.of(
                    Option.list(
                            INCLUDE,
                            "GLOBS",
                            "Linear layers to work on, by name, as down_proj,*.self_attn.*, or by a"
                                    + " regular expression, as re:.*mlp.* (default: all of the blocks)."),
                    Option.list(
                            IGNORE,
                            "GLOBS",
                            "Linear layers to leave as they are, named in the same way."),
                    SKIP_FIRST,
                    SKIP_LAST);

    /// @throws UserException where one is no regular expression
    public static Targets of(List<String> include, List<String> ignore) {
        return new Targets(
                NamePatterns.of(INCLUDE, classes(include)),
                NamePatterns.of(IGNORE, classes(ignore)),
                Ends.NONE);
    }

    /// Those of an option that has no counterpart.
    ///
    /// @throws UserException where one is no regular expression
    public static Targets of(String option, List<String> include) {
        return new Targets(
                NamePatterns.of(option, classes(include)),
                NamePatterns.of(IGNORE, List.of()),
                Ends.NONE);
    }

    /// Reads its options.
    ///
    /// @throws RecipeException where one is no regular expression
    public static Targets read(Options o) {
        NamePatterns.read(o, INCLUDE);
        NamePatterns.read(o, IGNORE);
        Targets named = of(o.texts(INCLUDE), o.texts(IGNORE));
        return new Targets(
                named.include, named.ignore, new Ends(SKIP_FIRST.read(o), SKIP_LAST.read(o)));
    }

    /// Words of other tools (compressed-tensors, peft) for all that there is here.
    private static List<String> classes(List<String> texts) {
        return texts.stream()
                .map(t -> t.equals("Linear") || t.equals("all-linear") ? "*" : t)
                .toList();
    }

    /// Whether it works on a layer of this name, in blocks that it works on.
    public boolean selects(String name) {
        return (include.isEmpty() || include.matches(name)) && !ignore.matches(name);
    }

    /// The layers of a model that these select.
    ///
    /// @param pass whose targets these are
    /// @param spec of the model as the pass finds it
    /// @param modules names of everything that the model has weights for
    /// @param notes gets a sentence for each pattern that changes nothing
    /// @throws UserException where a pattern matches nothing, or all of them together select
    ///   nothing
    public Set<String> resolve(
            String pass, ModelSpec spec, Collection<String> modules, Collection<String> notes) {
        if (equals(NONE)) {
            return Set.of();
        }
        Set<String> layers =
                spec.layers().stream()
                        .flatMap(layer -> layer.linears(spec.hidden()).stream())
                        .map(linear -> linear.name())
                        .collect(Collectors.toCollection(LinkedHashSet::new));
        Set<String> beyond = new LinkedHashSet<>(modules);
        beyond.add(spec.head());
        beyond.add("lm_head"); // has no weights of its own where it is tied
        beyond.removeAll(layers);
        String what = "the %d linear layers that %s may work on".formatted(layers.size(), pass);
        for (NamePattern pattern : include.patterns()) {
            if (NamePatterns.first(pattern, layers).isEmpty()) {
                Optional<String> other = NamePatterns.first(pattern, beyond);
                if (other.isPresent()) {
                    throw new UserException(
                            "%s %s is out of reach: %s stays as it is, %s works on the linear layers of the blocks"
                                    .formatted(
                                            include.option(),
                                            pattern,
                                            role(other.get(), spec),
                                            pass),
                            "leave it out; names look like " + layers.iterator().next());
                }
                throw include.unmatched(pattern, layers, what);
            }
        }
        for (NamePattern pattern : ignore.patterns()) {
            if (NamePatterns.first(pattern, layers).isEmpty()) {
                String other =
                        NamePatterns.first(pattern, beyond)
                                .orElseThrow(() -> ignore.unmatched(pattern, layers, what));
                notes.add(
                        "%s %s changes nothing: %s stays as it is anyway"
                                .formatted(IGNORE, pattern, role(other, spec)));
            }
        }
        int blocks = spec.layers().size();
        if (skipped.first + skipped.last >= blocks) {
            throw new UserException(
                    "{skipFirst} %d and {skipLast} %d leave none of the %d blocks"
                            .formatted(skipped.first, skipped.last, blocks),
                    "lower one of them");
        }
        Set<String> selected =
                spec.layers().subList(skipped.first, blocks - skipped.last).stream()
                        .flatMap(layer -> layer.linears(spec.hidden()).stream())
                        .map(linear -> linear.name())
                        .filter(this::selects)
                        .collect(Collectors.toCollection(LinkedHashSet::new));
        if (selected.isEmpty()) {
            throw new UserException(
                    "the targets select none of the %d linear layers".formatted(layers.size()),
                    "%s %s leaves nothing of them".formatted(IGNORE, ignore));
        }
        return selected;
    }

    private static String role(String module, ModelSpec spec) {
        if (module.equals("lm_head") || module.equals(spec.head()) && !spec.tied()) {
            return "the output layer";
        }
        return module.equals(spec.embedding()) ? "the embedding" : module;
    }
}
