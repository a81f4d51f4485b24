// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.backend.LossOp;
import io.llmc.distill.spec.DistillSpec;
import java.util.SequencedMap;

/// Means over tokens, without weights; 0 where the weight is 0.
public record Losses(
        double kl,
        double reverse,
        double jsd,
        double ce,
        double hidden,
        double attention,
        long tokens) {
    public static final Losses NONE = new Losses(0, 0, 0, 0, 0, 0, 0);

    public double total(DistillSpec spec) {
        LossOp.LossWeights w = spec.loss();
        return w.kl() * kl
                + w.reverse() * reverse
                + w.jsd() * jsd
                + w.ce() * ce
                + spec.inside().hidden() * hidden
                + spec.inside().attention() * attention;
    }

    public Losses plus(Losses other) {
        return new Losses(
                mean(kl, other.kl, other),
                mean(reverse, other.reverse, other),
                mean(jsd, other.jsd, other),
                mean(ce, other.ce, other),
                mean(hidden, other.hidden, other),
                mean(attention, other.attention, other),
                tokens + other.tokens);
    }

    private double mean(double mine, double theirs, Losses other) {
        return (mine * tokens + theirs * other.tokens) / (tokens + other.tokens);
    }

    Losses with(double hiddenLoss, double attentionLoss) {
        return new Losses(kl, reverse, jsd, ce, hiddenLoss, attentionLoss, tokens);
    }

    /// Those that count, by name.
    public void describe(DistillSpec spec, SequencedMap<String, Object> values) {
        LossOp.LossWeights w = spec.loss();
        put(values, "kl", w.kl(), kl);
        put(values, "reverse_kl", w.reverse(), reverse);
        put(values, "jsd", w.jsd(), jsd);
        put(values, "ce", w.ce(), ce);
        put(values, "hidden", spec.inside().hidden(), hidden);
        put(values, "attention", spec.inside().attention(), attention);
    }

    private static void put(
            SequencedMap<String, Object> values, String name, float weight, double loss) {
        if (weight != 0) {
            values.put(name, loss);
        }
    }
}
