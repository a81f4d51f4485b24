// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import java.util.List;
import java.util.function.Function;

/// A method by its name in a recipe.
///
/// @param name `gptq`
/// @param summary one line for people
/// @param options in the order in which commands write them
/// @param sample a recipe that uses it, as documentation and as a test
/// @param read makes the pass of its options; what it does not read is an error
public record PassFactory(
        String name,
        String summary,
        String sample,
        List<Option<?>> options,
        Function<Options, ? extends Pass> read) {}
