// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.util.Arrays;

/// One number a token, over all scored tokens.
///
/// @param error standard error of the mean, over tokens as if they were independent; NaN for one
///   token
/// @param sorted every one of them, rising
public record Distribution(double mean, double error, float[] sorted) {
    public static Distribution of(float[] values) {
        Perplexity p = Perplexity.of(values);
        float[] sorted = values.clone();
        Arrays.sort(sorted);
        return new Distribution(p.loss(), p.error(), sorted);
    }

    public double min() {
        return sorted[0];
    }

    public double max() {
        return sorted[sorted.length - 1];
    }

    public double median() {
        return quantile(0.5);
    }

    /// Between neighbours in proportion, as numpy and llama.cpp have it.
    ///
    /// @param share of tokens below, 0 to 1
    public double quantile(double share) {
        double at = share * (sorted.length - 1);
        int below = (int) at;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (at - below) * ((double) sorted[above] - sorted[below]);
    }
}
