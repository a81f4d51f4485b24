// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.evaluation.gate.Gates;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.SequencedMap;
import java.util.Set;

/// What an evaluation found.
///
/// @param spec what was asked
/// @param windows forward passes
/// @param tokens scored
/// @param original null where the model was compared with none, or with a base of predictions
/// @param comparison null where the model was compared with neither
/// @param detail for reports; no figures
public record EvalResult(
        EvalSpec spec,
        long windows,
        long tokens,
        Measured model,
        Measured original,
        Comparison comparison,
        EvalDetail detail)
        implements Step.Outcome {

    /// One model by itself.
    ///
    /// @param perplexity in the spec's convention
    /// @param perplexityError its standard error over tokens as if they were independent
    /// @param loss its logarithm: mean negative log-likelihood, nats a token
    /// @param tokensPerSecond through embedding, blocks and head, tokens that are not scored
    ///   included
    public record Measured(
            double perplexity,
            double perplexityError,
            double loss,
            double tokensPerSecond,
            SizeReport size) {}

    /// The model against the original, token by token.
    ///
    /// @param original its perplexity on the same tokens
    public record Comparison(Perplexity original, PerplexityRatio ratio, Drift drift) {}

    /// Names of the numbers that such an evaluation will find.
    static Set<String> names(EvalSpec spec) {
        boolean compares = spec.against() != null || spec.kldBase() != null;
        Measured none = new Measured(0, 0, 0, 0, new SizeReport(0, 0, 0));
        EvalResult blank =
                new EvalResult(
                        spec,
                        0,
                        0,
                        none,
                        spec.against() == null ? null : none,
                        new TokenFigures(1, compares).comparison(),
                        null);
        return Gates.numbers(blank.figures()).keySet();
    }

    /// Names of the numbers that an evaluation has only where it compares with an original.
    static Set<String> comparisonNames() {
        Path any = Path.of("any");
        Set<String> names =
                new LinkedHashSet<>(names(new EvalSpec(any, any, any, 0, Convention.GPTQ, 0, 0)));
        names.removeAll(names(new EvalSpec(any, null, any, 0, Convention.GPTQ, 0, 0)));
        return names;
    }

    /// Every figure under its name in snake case, in a fixed order. Values are strings, numbers, or
    /// null where a number is not finite.
    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("model", spec.model().toString());
        if (spec.data() != null) {
            map.put("data", spec.data().toString());
        }
        put(map, "perplexity", model.perplexity);
        map.put("perplexity_convention", spec.convention().label());
        put(map, "perplexity_stderr", model.perplexityError);
        put(map, "loss", model.loss);
        map.put("tokens", tokens);
        map.put("windows", windows);
        map.put("window", spec.window());
        if (spec.convention() == Convention.SLIDING) {
            map.put("stride", spec.stride());
        }
        put(map, "tokens_per_second", model.tokensPerSecond);
        map.putAll(model.size.toMap());
        if (comparison != null) {
            compare(map);
        }
        if (original != null) {
            put(map, "original_tokens_per_second", original.tokensPerSecond);
            original.size.toMap().forEach((key, value) -> map.put("original_" + key, value));
            put(map, "size_ratio", (double) model.size.bytes() / original.size.bytes());
        }
        return map;
    }

    private void compare(SequencedMap<String, Object> map) {
        if (spec.against() != null) {
            map.put("original", spec.against().toString());
        } else {
            map.put("kld_base", spec.kldBase().toString());
        }
        Perplexity theirs = comparison.original;
        put(map, "original_perplexity", theirs.value());
        put(map, "original_perplexity_stderr", theirs.valueError());
        put(map, "original_loss", theirs.loss());
        comparison.ratio.toMap().forEach((key, value) -> put(map, key, value));
        map.put("perplexity_ratio_interval", "95 %, paired over tokens");
        comparison.drift.toMap().forEach((key, value) -> put(map, key, value));
    }

    private static void put(SequencedMap<String, Object> map, String key, double value) {
        map.put(key, Double.isFinite(value) ? (Object) value : null);
    }
}
