// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// A model's perplexity beside the original's on the same tokens. What both find hard or easy
/// cancels: the errors are those of paired differences.
///
/// @param log logarithm of the ratio, model to original
/// @param logError its standard error
/// @param correlation of the losses, token by token; NaN where one of them never changes
/// @param difference of perplexities, model less original
/// @param differenceError its standard error, to first order
public record PerplexityRatio(
        double log,
        double logError,
        double correlation,
        double difference,
        double differenceError) {
    /// @param losses one a token, nats
    public static PerplexityRatio of(float[] losses, float[] originalLosses) {
        Perplexity paired = Perplexity.paired(losses, originalLosses);
        Perplexity model = Perplexity.of(losses);
        Perplexity original = Perplexity.of(originalLosses);
        double covariance = covariance(losses, model.loss(), originalLosses, original.loss());
        double a = model.value();
        double b = original.value();
        // The variance of a x - b y, where x and y are the errors of the two mean losses.
        double variance =
                square(model.valueError()) + square(original.valueError()) - 2 * a * b * covariance;
        return new PerplexityRatio(
                paired.loss(),
                paired.error(),
                Math.clamp(covariance / (model.error() * original.error()), -1, 1),
                a - b,
                Math.sqrt(Math.max(0, variance)));
    }

    /// Of the two means.
    private static double covariance(float[] x, double meanX, float[] y, double meanY) {
        double sum = 0;
        for (int i = 0; i < x.length; i++) {
            sum += (x[i] - meanX) * (y[i] - meanY);
        }
        return sum / (x.length - 1) / x.length;
    }

    private static double square(double x) {
        return x * x;
    }

    public double value() {
        return Math.exp(log);
    }

    /// Standard error of [#value], to first order.
    public double error() {
        return value() * logError;
    }

    /// Lower end of the 95 % interval of [#value].
    public double low() {
        return Math.exp(log - Perplexity.Z95 * logError);
    }

    public double high() {
        return Math.exp(log + Perplexity.Z95 * logError);
    }

    /// Every figure under its name in snake case.
    SequencedMap<String, Double> toMap() {
        SequencedMap<String, Double> map = new LinkedHashMap<>();
        map.put("perplexity_ratio", value());
        map.put("perplexity_ratio_stderr", error());
        map.put("perplexity_ratio_low", low());
        map.put("perplexity_ratio_high", high());
        map.put("log_perplexity_ratio", log);
        map.put("log_perplexity_ratio_stderr", logError);
        map.put("perplexity_difference", difference);
        map.put("perplexity_difference_stderr", differenceError);
        map.put("loss_correlation", correlation);
        return map;
    }
}
