// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import java.nio.file.Path;
import java.util.List;
import java.util.SequencedMap;

/// A step that reads a model directory and writes another in a way of its own: training.
public non-sealed interface Work extends Recipe.Step {
    /// The key in a recipe: `distill`.
    String name();

    /// Fails where [#run] would fail before its first work.
    ///
    /// @param model as it is before the recipe's first step
    void check(Path model);

    /// Bytes outside the Java heap that [#run] takes at most, from headers alone.
    ///
    /// @param model as for [#check]
    /// @param cap bytes at most
    /// @throws io.llmc.formats.UserException where that is too little, with the least that works
    long memory(Path model, Backend backend, long cap);

    /// Writes and publishes the output; the caller concludes it.
    Result run(Scope scope);

    /// Whether it writes what only goes with the model that it read, so that no other step can come
    /// before or after it.
    default boolean standsAlone() {
        return false;
    }

    /// @param recipe that the step belongs to
    /// @param inputs of the recipe
    /// @param model to read
    /// @param memory bytes outside the Java heap at most
    /// @param force replaces an output that exists
    record Scope(
            Backend backend,
            Recipe recipe,
            Inputs inputs,
            Path model,
            Path output,
            long memory,
            boolean force,
            String toolVersion,
            Progress progress) {}

    /// @param values figures with JSON values, for people too; a number that is not finite becomes
    ///   null
    /// @param warnings sentences that the user must see
    record Result(Path output, SequencedMap<String, Object> values, List<String> warnings) {
        public Result {
            values = Finite.figures(values);
        }
    }

    /// A step by its name in a recipe.
    ///
    /// @param sample a recipe that uses it, as documentation and as a test
    record Factory(
            String name,
            String summary,
            String sample,
            java.util.function.Function<Options, ? extends Work> read) {}
}
