// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/// The patterns of one option over names of layers or tensors.
///
/// A glob: `*.mlp.*`, `model.layers.0.*`, `down_proj`, which matches the last part of a name. Or a
/// regular expression from the start of the name: `re:.*self_attn.*`.
public final class NamePatterns {
    private final String option;
    private final List<NamePattern> patterns;

    private NamePatterns(String option, List<NamePattern> patterns) {
        this.option = option;
        this.patterns = patterns;
    }

    /// @param option what to call them in an error: `targets`, `--train`
    /// @throws UserException where one is no regular expression
    public static NamePatterns of(String option, List<String> texts) {
        List<NamePattern> patterns = new ArrayList<>();
        for (String text : texts) {
            try {
                patterns.add(new NamePattern(text));
            } catch (RegexException e) {
                throw new UserException("%s: %s".formatted(option, e.getMessage()), "");
            }
        }
        return new NamePatterns(option, List.copyOf(patterns));
    }

    /// Reads the list under a key.
    ///
    /// @throws RecipeException where one is no regular expression
    public static NamePatterns read(Options o, String key) {
        try {
            return of(key, o.texts(key));
        } catch (UserException e) {
            throw o.error(key, e.getMessage());
        }
    }

    String option() {
        return option;
    }

    public boolean isEmpty() {
        return patterns.isEmpty();
    }

    /// Whether one of them matches.
    public boolean matches(String name) {
        return patterns.stream().anyMatch(p -> p.matches(name));
    }

    List<NamePattern> patterns() {
        return patterns;
    }

    /// The first of some names that a pattern matches.
    static Optional<String> first(NamePattern pattern, Collection<String> names) {
        return names.stream().filter(pattern::matches).findFirst();
    }

    /// @param names of which each pattern must match one
    /// @param what they are: `the model's linear layers`
    /// @throws UserException naming the first pattern that matches none, and what is near
    public void requireEach(Collection<String> names, String what) {
        for (NamePattern pattern : patterns) {
            if (first(pattern, names).isEmpty()) {
                throw unmatched(pattern, names, what);
            }
        }
    }

    UserException unmatched(NamePattern pattern, Collection<String> names, String what) {
        String likely = nearest(pattern, names).map("did you mean %s? "::formatted).orElse("");
        String example =
                names.stream().findFirst().map("names look like "::concat).orElse("there are none");
        return new UserException(
                "%s %s matches none of %s".formatted(option, pattern, what), likely + example);
    }

    /// A pattern that matches some name and differs little.
    private static Optional<String> nearest(NamePattern pattern, Collection<String> names) {
        if (!pattern.isGlob()) {
            return matching(pattern.anywhere(), names);
        }
        Set<String> parts =
                names.stream()
                        .flatMap(name -> Arrays.stream(name.split("\\.", -1)))
                        .collect(Collectors.toCollection(LinkedHashSet::new));
        String mended =
                Arrays.stream(pattern.toString().split("\\.", -1))
                        .map(part ->
                                parts.contains(part) || part.matches(".*[*?].*|\\d+")
                                        ? part
                                        : Options.nearest(part, parts).orElse(part))
                        .collect(Collectors.joining("."));
        return matching(mended, names)
                .or(() -> Options.nearest(pattern.toString(), new LinkedHashSet<>(names)));
    }

    private static Optional<String> matching(String text, Collection<String> names) {
        try {
            return first(new NamePattern(text), names).map(_ -> text);
        } catch (RegexException e) {
            return Optional.empty();
        }
    }

    @Override
    public String toString() {
        return patterns.stream().map(NamePattern::toString).collect(Collectors.joining(","));
    }
}
