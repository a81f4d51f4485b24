// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.speculation;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.generation.SamplingSettings;
import java.nio.file.Path;
import java.util.List;

/// What to draft with, and what to write.
///
/// @param draft model directory
/// @param prompts file: see [io.llmc.tokenizer.PromptFile]
/// @param drafted tokens at a time
/// @param maxTokens of each text
/// @param maxPrompts the first of the file; 0 for all
public record SpeculationSpec(
        Path draft,
        Path prompts,
        int drafted,
        int maxTokens,
        int maxPrompts,
        SamplingSettings sampling) {
    static final Option<Path> DRAFT =
            Option.path(
                    "draft",
                    "MODEL",
                    "Model that drafts for this one: speculative decoding of the prompts in"
                            + " {data}.");

    private static final Option<Path> DATA =
            Option.path("data", "FILE", "Prompts: a line each, or records (.jsonl).").withoutFlag();

    private static final Option<Integer> DRAFTED =
            Option.integer("draftTokens", 4, "Tokens to draft at a time (default: %s).")
                    .within("1 to 32", n -> n >= 1 && n <= 32);

    private static final Option<Integer> MAX_TOKENS =
            Option.integer("maxTokens", 64, "Tokens of each text at most (default: %s).")
                    .within("at least 2", n -> n >= 2);

    private static final Option<Integer> MAX_PROMPTS =
            Option.integer("maxPrompts", 0, "Only the first prompts (default: all).")
                    .within("at least 0", n -> n >= 0);

    private static final Option<Double> TEMPERATURE =
            Option.decimal(
                            "temperature",
                            0.0,
                            "Draw tokens at this temperature; 0 takes the best (default: %s).")
                    .within("at least 0", t -> t >= 0);

    private static final Option<Long> SEED =
            Option.whole("seed", 0L, "Of the draws (default: %s).");

    public static final List<Option<?>> OPTIONS =
            List.of(DRAFT, DATA, DRAFTED, MAX_TOKENS, MAX_PROMPTS, TEMPERATURE, SEED);

    static SpeculationSpec read(Options o) {
        return new SpeculationSpec(
                DRAFT.required(o),
                DATA.required(o),
                DRAFTED.read(o),
                MAX_TOKENS.read(o),
                MAX_PROMPTS.read(o),
                SamplingSettings.drawing(TEMPERATURE.read(o), SEED.read(o)));
    }
}
