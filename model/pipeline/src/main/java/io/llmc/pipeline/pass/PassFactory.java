// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/// A method by its name in a recipe.
///
/// @param name `gptq`
/// @param summary one line for people
/// @param options in the order in which commands write them
/// @param sample a recipe that uses it, as documentation and as a test
/// @param read makes the pass of its options; what it does not read is an error
/// @param rounder the method that rounds what this one has prepared, for commands that name none
///   behind it
/// @param beside where it joins any chain of a command that gives it a flag; null for a method that
///   commands name
public record PassFactory(
        String name,
        String summary,
        String sample,
        List<Option<?>> options,
        Function<Options, ? extends Pass> read,
        Optional<String> rounder,
        Beside beside) {

    /// Ends of a chain.
    public enum Beside {
        BEFORE,
        BEHIND
    }

    /// A method that may stand alone.
    public PassFactory(
            String name,
            String summary,
            String sample,
            List<Option<?>> options,
            Function<Options, ? extends Pass> read) {
        this(name, summary, sample, options, read, Optional.empty(), null);
    }

    /// A method that leaves weights plain, for another to round.
    public PassFactory roundedBy(String method) {
        return new PassFactory(name, summary, sample, options, read, Optional.of(method), null);
    }

    /// A method that joins the chains of others.
    public PassFactory joining(Beside end) {
        return new PassFactory(name, summary, sample, options, read, Optional.empty(), end);
    }
}
