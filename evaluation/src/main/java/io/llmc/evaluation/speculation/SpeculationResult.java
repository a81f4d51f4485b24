// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.speculation;

import io.llmc.evaluation.latency.Speedup;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.generation.Speculator;
import io.llmc.pipeline.plan.Drafting;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;

/// What drafting gained.
///
/// @param speedup of tokens a second, of the prompts in pairs; null for a single prompt
public record SpeculationResult(Path model, SpeculationSpec spec, List<Pair> pairs, Speedup speedup)
        implements Step.Outcome {
    /// Names of the figures that are numbers.
    static final Set<String> NAMES =
            Set.of(
                    "draft_tokens",
                    "draft_prompts",
                    "draft_generated_tokens",
                    "draft_same_texts",
                    "draft_acceptance",
                    "draft_tokens_per_pass",
                    "draft_tokens_per_second",
                    "alone_tokens_per_second",
                    "draft_speedup",
                    "draft_speedup_low",
                    "draft_speedup_high",
                    "draft_cost",
                    "draft_pass_cost",
                    "draft_predicted_speedup",
                    "draft_best_tokens",
                    "draft_best_predicted_speedup");

    /// One prompt both ways.
    ///
    /// @param seconds of the text with a draft
    /// @param alone ids that the model gives by itself
    public record Pair(Speculator.Text text, double seconds, int[] alone, double aloneSeconds) {
        boolean same() {
            return Arrays.equals(text.ids(), alone);
        }
    }

    public long tokens() {
        return pairs.stream().mapToLong(p -> p.text().ids().length).sum();
    }

    public long same() {
        return pairs.stream().filter(Pair::same).count();
    }

    /// The part of drafted tokens at a place that were taken over, of those whose forerunners were;
    /// NaN where there was none.
    public double acceptance(int place) {
        long offered = pairs.stream().mapToLong(p -> p.text().offered()[place]).sum();
        long accepted = pairs.stream().mapToLong(p -> p.text().accepted()[place]).sum();
        return (double) accepted / offered;
    }

    /// Tokens of a pass of the model.
    public double tokensPerPass() {
        return (double) tokens() / pairs.stream().mapToLong(p -> p.text().passes()).sum();
    }

    public double tokensPerSecond() {
        return tokens() / pairs.stream().mapToDouble(Pair::seconds).sum();
    }

    public double aloneTokensPerSecond() {
        return pairs.stream().mapToLong(p -> p.alone().length).sum()
                / pairs.stream().mapToDouble(Pair::aloneSeconds).sum();
    }

    /// Seconds of a draft's step by those of a token of the model alone.
    public double draftCost() {
        double seconds = pairs.stream().mapToDouble(p -> p.text().draftSeconds()).sum();
        return seconds
                / pairs.stream().mapToLong(p -> p.text().steps()).sum()
                * aloneTokensPerSecond();
    }

    /// Seconds of a pass over drafted tokens by those of a token of the model alone.
    public double passCost() {
        double seconds = pairs.stream().mapToDouble(p -> p.text().targetSeconds()).sum();
        return seconds
                / pairs.stream().mapToLong(p -> p.text().passes()).sum()
                * aloneTokensPerSecond();
    }

    /// The speed-up that acceptance and costs predict for `k` drafted tokens, as [Drafting#gain].
    /// Places beyond those that were measured are accepted like the last one.
    public double predicted(int k) {
        return Drafting.gain(
                i -> {
                    double a = acceptance(Math.min(i, spec.drafted() - 1));
                    return Double.isNaN(a) ? 0 : a;
                },
                k,
                passCost(),
                draftCost());
    }

    /// How many drafted tokens promise most; 0 where the model alone is fastest.
    public int best() {
        return Drafting.best(this::predicted);
    }

    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("model", model.toString());
        map.put("draft", spec.draft().toString());
        map.put("draft_tokens", spec.drafted());
        map.put("draft_prompts", pairs.size());
        map.put("draft_generated_tokens", tokens());
        map.put("draft_same_texts", same());
        List<Object> places = new ArrayList<>();
        for (int i = 0; i < spec.drafted(); i++) {
            double a = acceptance(i);
            places.add(Double.isNaN(a) ? null : a);
        }
        map.put("draft_acceptance", places.getFirst());
        map.put("draft_acceptance_by_place", places);
        map.put("draft_tokens_per_pass", tokensPerPass());
        map.put("draft_tokens_per_second", tokensPerSecond());
        map.put("alone_tokens_per_second", aloneTokensPerSecond());
        if (speedup != null) {
            map.put("draft_speedup", speedup.ratio());
            map.put("draft_speedup_low", speedup.low());
            map.put("draft_speedup_high", speedup.high());
        }
        map.put("draft_cost", draftCost());
        map.put("draft_pass_cost", passCost());
        map.put("draft_predicted_speedup", predicted(spec.drafted()));
        map.put("draft_best_tokens", best());
        map.put("draft_best_predicted_speedup", predicted(best()));
        return map;
    }
}
