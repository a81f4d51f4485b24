// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.pipeline.Options;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.TreeSet;

/// The tasks that need no file of their own.
public final class BuiltInTasks {
    public static final List<String> NAMES =
            List.of(
                    "arc",
                    "boolq",
                    "hellaswag",
                    "lambada",
                    "mmlu",
                    "openbookqa",
                    "piqa",
                    "wikitext",
                    "winogrande");

    private BuiltInTasks() {}

    /// A task's file.
    static String text(String name) {
        try (InputStream file = BuiltInTasks.class.getResourceAsStream(name + ".yaml")) {
            return new String(file.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// The task that a file is of: `arc_easy`, `ARC-Easy-Test` and `arc` begin with `arc`.
    static Optional<String> beginning(String stem) {
        String lower = stem.toLowerCase(Locale.ROOT);
        return NAMES.stream()
                .filter(name ->
                        lower.equals(name)
                                || lower.startsWith(name)
                                        && "_-.".indexOf(lower.charAt(name.length())) >= 0)
                .max(Comparator.comparingInt(String::length));
    }

    /// For the end of a sentence.
    static String nearest(String name) {
        return Options.nearest(name, new TreeSet<>(NAMES))
                .map(best -> "; did you mean " + best + "?")
                .orElse("; known: " + String.join(", ", NAMES));
    }
}
