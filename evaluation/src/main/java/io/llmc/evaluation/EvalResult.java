// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.pipeline.Step;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// What an evaluation found.
///
/// @param spec what was asked
/// @param windows forward passes
/// @param tokens scored
/// @param original null where the model was compared with none; `comparison` too
public record EvalResult(
        EvalSpec spec,
        long windows,
        long tokens,
        Measured model,
        Measured original,
        Comparison comparison)
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
    /// @param ratio of perplexities, model to original
    /// @param ratioLow lower end of a 95 % interval: `exp(mean +- 1.96 s / sqrt(n))` of the paired
    ///   differences of loss over the n scored tokens
    public record Comparison(double ratio, double ratioLow, double ratioHigh, Drift drift) {}

    /// Every figure under its name in snake case, in a fixed order. Values are strings, numbers, or
    /// null where a number is not finite.
    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("model", spec.model().toString());
        map.put("data", spec.data().toString());
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
        if (original != null) {
            compare(map);
        }
        return map;
    }

    private void compare(SequencedMap<String, Object> map) {
        map.put("original", spec.against().toString());
        put(map, "original_perplexity", original.perplexity);
        put(map, "original_perplexity_stderr", original.perplexityError);
        put(map, "original_loss", original.loss);
        put(map, "perplexity_ratio", comparison.ratio);
        put(map, "perplexity_ratio_low", comparison.ratioLow);
        put(map, "perplexity_ratio_high", comparison.ratioHigh);
        map.put("perplexity_ratio_interval", "95 %, paired over tokens");
        Drift drift = comparison.drift;
        put(map, "kld_mean", drift.mean());
        put(map, "kld_median", drift.median());
        put(map, "kld_p99", drift.p99());
        put(map, "kld_max", drift.max());
        put(map, "top1_agreement", drift.top1());
        put(map, "original_tokens_per_second", original.tokensPerSecond);
        original.size.toMap().forEach((key, value) -> map.put("original_" + key, value));
        put(map, "size_ratio", (double) model.size.bytes() / original.size.bytes());
    }

    private static void put(SequencedMap<String, Object> map, String key, double value) {
        map.put(key, Double.isFinite(value) ? (Object) value : null);
    }
}
