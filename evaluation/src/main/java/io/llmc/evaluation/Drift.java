// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// How far a model's predictions are from the original's, over all scored tokens: what llama.cpp
/// calls statistics of KL divergence and of token probability.
///
/// @param divergence `KL(original || model)`, nats a token
/// @param change of the probability of the token that came, model less original
/// @param rms root of the mean square of `change`
/// @param rmsError its standard error, to first order
/// @param top1 share of tokens for which both find the same token the likeliest
/// @param top1Error its standard error
public record Drift(
        Distribution divergence,
        Distribution change,
        double rms,
        double rmsError,
        double top1,
        double top1Error) {
    /// Shares of tokens, in percent, whose quantiles are reported of divergences and of changes.
    public static final List<Double> DIVERGENCE_PERCENTS =
            List.of(99.9, 99.0, 95.0, 90.0, 50.0, 10.0, 5.0, 1.0, 0.1);

    public static final List<Double> CHANGE_PERCENTS =
            List.of(99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1);

    /// One number a token in each array.
    ///
    /// @param losses of the model: negative log-probabilities of the tokens that came
    /// @param agreeing tokens for which both find the same token the likeliest
    static Drift of(float[] divergences, float[] losses, float[] originalLosses, long agreeing) {
        int n = losses.length;
        float[] changes = new float[n];
        float[] squares = new float[n];
        for (int i = 0; i < n; i++) {
            changes[i] = (float) (Math.exp(-losses[i]) - Math.exp(-originalLosses[i]));
            squares[i] = changes[i] * changes[i];
        }
        Perplexity square = Perplexity.of(squares);
        double rms = Math.sqrt(square.loss());
        double top1 = (double) agreeing / n;
        return new Drift(
                Distribution.of(divergences),
                Distribution.of(changes),
                rms,
                rms == 0 ? 0 : 0.5 / rms * square.error(),
                top1,
                Math.sqrt(top1 * (1 - top1) / (n - 1)));
    }

    /// Every figure under its name in snake case; quantiles as `kld_p99_9`. Changes of probability
    /// are from -1 to 1.
    SequencedMap<String, Double> toMap() {
        SequencedMap<String, Double> map = new LinkedHashMap<>();
        put(map, "kld", divergence, DIVERGENCE_PERCENTS);
        put(map, "delta_p", change, CHANGE_PERCENTS);
        map.put("delta_p_rms", rms);
        map.put("delta_p_rms_stderr", rmsError);
        map.put("top1_agreement", top1);
        map.put("top1_agreement_stderr", top1Error);
        return map;
    }

    private static void put(
            SequencedMap<String, Double> map,
            String name,
            Distribution figures,
            List<Double> percents) {
        map.put(name + "_mean", figures.mean());
        map.put(name + "_mean_stderr", figures.error());
        map.put(name + "_max", figures.max());
        for (double percent : percents) {
            map.put(
                    percent == 50 ? name + "_median" : name + "_p" + spelled(percent),
                    figures.quantile(percent / 100));
        }
        map.put(name + "_min", figures.min());
    }

    /// `99_9`, `95`
    private static String spelled(double percent) {
        return percent == Math.rint(percent)
                ? Long.toString((long) percent)
                : Double.toString(percent).replace('.', '_');
    }
}
