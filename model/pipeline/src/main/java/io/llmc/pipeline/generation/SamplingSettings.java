// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.List;

/// How the next token follows from logits. Filters work in the order of transformers, each on what
/// the one before it has left: repetition penalty, temperature, top-k, top-p, min-p, typical-p,
/// epsilon and eta cutoff.
///
/// @param temperature logits are divided by it; 0 takes the best token, whatever filters leave
/// @param topK tokens to keep, and those that equal the last of them; 0 for all
/// @param topP keeps the fewest tokens that have this probability together; 1 for all
/// @param minP keeps tokens of at least this part of the best one's probability; 0 for all
/// @param typicalP keeps tokens whose information is nearest to the entropy, up to this probability
///   together; 1 for all (Meister et al., 2022, https://arxiv.org/abs/2202.00666)
/// @param epsilonCutoff keeps tokens of at least this probability; 0 for all
/// @param etaCutoff likewise, but lower where the distribution is flat; 0 for all (Hewitt et al.,
///   2022, https://arxiv.org/abs/2210.15191)
/// @param repetitionPenalty positive logits of tokens that are there already are divided by it,
///   negative ones multiplied; 1 for none (Keskar et al., 2019, https://arxiv.org/abs/1909.05858)
/// @param seed of the draws
public record SamplingSettings(
        double temperature,
        int topK,
        double topP,
        double minP,
        double typicalP,
        double epsilonCutoff,
        double etaCutoff,
        double repetitionPenalty,
        long seed) {
    private static final Option<Double> TEMPERATURE =
            Option.decimal(
                            "temperature",
                            0.0,
                            "Logits are divided by it before a token is drawn; 0 takes the best one"
                                    + " (default: %s).")
                    .within("at least 0", t -> t >= 0);

    private static final Option<Integer> TOP_K =
            Option.integer("topK", 0, "Draw among the best tokens, this many; 0 for all.")
                    .within("at least 0", k -> k >= 0);

    private static final Option<Double> TOP_P =
            Option.decimal(
                            "topP",
                            1.0,
                            "Draw among the best tokens that have this probability together"
                                    + " (default: %s, all).")
                    .within("more than 0, at most 1", p -> p > 0 && p <= 1);

    private static final Option<Double> MIN_P =
            Option.decimal(
                            "minP",
                            0.0,
                            "Draw among tokens of at least this part of the best one's"
                                    + " probability.")
                    .within("0 to 1", p -> p >= 0 && p <= 1);

    private static final Option<Double> TYPICAL_P =
            Option.decimal(
                            "typicalP",
                            1.0,
                            "Draw among tokens that are about as probable as the text so far lets"
                                    + " expect, of this probability together (default: %s, all).")
                    .within("more than 0, at most 1", p -> p > 0 && p <= 1);

    private static final Option<Double> EPSILON_CUTOFF =
            Option.decimal("epsilonCutoff", 0.0, "Draw among tokens of at least this probability.")
                    .within("0 to less than 1", p -> p >= 0 && p < 1);

    private static final Option<Double> ETA_CUTOFF =
            Option.decimal(
                            "etaCutoff",
                            0.0,
                            "Likewise, but with a lower bound where many tokens are possible.")
                    .within("0 to less than 1", p -> p >= 0 && p < 1);

    private static final Option<Double> REPETITION_PENALTY =
            Option.decimal(
                            "repetitionPenalty",
                            1.0,
                            "Makes tokens that are there already less probable; 1 is none (default:"
                                    + " %s).")
                    .within("more than 0", r -> r > 0);

    private static final Option<Long> SEED =
            Option.whole("seed", 0L, "Of the draws (default: %s).");

    /// Those that choose among tokens to draw.
    private static final List<Option<?>> FILTERS =
            List.of(TOP_K, TOP_P, MIN_P, TYPICAL_P, EPSILON_CUTOFF, ETA_CUTOFF);

    public static final List<Option<?>> OPTIONS =
            Option.join(List.of(TEMPERATURE), FILTERS, List.of(REPETITION_PENALTY, SEED));

    /// The best token always.
    public static final SamplingSettings GREEDY = drawing(0, 0);

    /// @throws IllegalArgumentException where a value is outside of its option's range
    public SamplingSettings {
        require(TEMPERATURE, temperature);
        require(TOP_K, topK);
        require(TOP_P, topP);
        require(MIN_P, minP);
        require(TYPICAL_P, typicalP);
        require(EPSILON_CUTOFF, epsilonCutoff);
        require(ETA_CUTOFF, etaCutoff);
        require(REPETITION_PENALTY, repetitionPenalty);
    }

    private static <T> void require(Option<T> option, T value) {
        if (!option.range().holds().test(value)) {
            throw new IllegalArgumentException(
                    "%s is %s, expected %s".formatted(option.key(), value, option.range().words()));
        }
    }

    /// Draws from all tokens.
    public static SamplingSettings drawing(double temperature, long seed) {
        return new SamplingSettings(temperature, 0, 1, 0, 1, 0, 0, 1, seed);
    }

    /// @throws RecipeException where a value is outside of its range, or a filter has nothing to
    ///   choose among
    public static SamplingSettings read(Options o) {
        SamplingSettings read =
                new SamplingSettings(
                        TEMPERATURE.read(o),
                        TOP_K.read(o),
                        TOP_P.read(o),
                        MIN_P.read(o),
                        TYPICAL_P.read(o),
                        EPSILON_CUTOFF.read(o),
                        ETA_CUTOFF.read(o),
                        REPETITION_PENALTY.read(o),
                        SEED.read(o));
        for (Option<?> filter : FILTERS) {
            if (read.isGreedy() && o.has(filter.key())) {
                throw o.error(
                        filter.key(),
                        "%s chooses among tokens to draw, but with temperature 0 none is drawn;"
                                        .formatted(filter.key())
                                + " set {temperature}, too");
            }
        }
        return read;
    }

    /// Whether nothing is drawn.
    public boolean isGreedy() {
        return temperature == 0;
    }
}
