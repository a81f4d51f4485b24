// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;

/// How texts are continued, and until when.
///
/// @param maxTokens of each text
/// @param ends tokens that end a text
/// @param stops strings that end a text before them
/// @param logprobs how many of the most probable tokens to name with each token's own probability;
///   empty for none of that
public record GenerationSettings(
        SamplingSettings sampling,
        int maxTokens,
        Set<Integer> ends,
        List<String> stops,
        OptionalInt logprobs) {
    private static final Option<Integer> MAX_TOKENS =
            Option.integer("maxTokens", 256, "Tokens to generate at most (default: %s).")
                    .within("at least 1", n -> n >= 1);

    private static final Option<Boolean> IGNORE_EOS =
            Option.flag("ignoreEos", false, "Go on where the model would end.");

    private static final Option<Integer> LOGPROBS =
            Option.integer(
                            "logprobs",
                            null,
                            "Write the log-probability of every token, and the N best tokens with"
                                    + " theirs, into the JSON.")
                    .within("0 to 100", n -> n >= 0 && n <= 100);

    public static final List<Option<?>> OPTIONS =
            Option.join(
                    List.of(MAX_TOKENS), SamplingSettings.OPTIONS, List.of(IGNORE_EOS, LOGPROBS));

    public GenerationSettings {
        if (maxTokens < 1 || stops.contains("")) {
            throw new IllegalArgumentException(
                    "%d tokens, until one of %s".formatted(maxTokens, stops));
        }
    }

    /// Without stop strings and log-probabilities.
    public GenerationSettings(SamplingSettings sampling, int maxTokens, Set<Integer> ends) {
        this(sampling, maxTokens, ends, List.of(), OptionalInt.empty());
    }

    /// @param ends of the model
    /// @throws RecipeException where a value is outside of its range
    public static GenerationSettings read(Options o, Set<Integer> ends, List<String> stops) {
        Integer logprobs = LOGPROBS.read(o);
        return new GenerationSettings(
                SamplingSettings.read(o),
                MAX_TOKENS.read(o),
                IGNORE_EOS.read(o) ? Set.of() : ends,
                stops,
                logprobs == null ? OptionalInt.empty() : OptionalInt.of(logprobs));
    }
}
