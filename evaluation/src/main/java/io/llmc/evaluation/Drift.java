// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.util.Arrays;

/// How far a model's predictions are from the original's, over all scored tokens.
///
/// @param mean of `KL(original || model)`, nats a token
/// @param top1 share of tokens for which both find the same token the likeliest
public record Drift(double mean, double median, double p99, double max, double top1) {
    /// @param divergences one a token; sorted by this call
    static Drift of(float[] divergences, long agreeing) {
        double sum = 0;
        for (float x : divergences) {
            sum += x;
        }
        Arrays.sort(divergences);
        return new Drift(
                sum / divergences.length,
                quantile(divergences, 0.5),
                quantile(divergences, 0.99),
                divergences[divergences.length - 1],
                (double) agreeing / divergences.length);
    }

    /// Between neighbours in proportion, as numpy and llama.cpp have it.
    static double quantile(float[] sorted, double q) {
        double at = q * (sorted.length - 1);
        int below = (int) at;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (at - below) * ((double) sorted[above] - sorted[below]);
    }
}
