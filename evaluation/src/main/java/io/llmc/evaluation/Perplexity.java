// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

/// A mean negative log-likelihood over tokens.
///
/// @param loss the mean, nats a token
/// @param error standard error of the mean, over tokens as if they were independent (as llama.cpp
///   has it); NaN for one token
/// @param tokens scored
public record Perplexity(double loss, double error, long tokens) {
    /// Normal quantile of a two-sided 95 % interval.
    static final double Z95 = 1.959963984540054;

    public static Perplexity of(float[] losses) {
        double sum = 0;
        for (float x : losses) {
            sum += x;
        }
        double mean = sum / losses.length;
        double squares = 0;
        for (float x : losses) {
            squares += (x - mean) * (x - mean);
        }
        return new Perplexity(mean, error(squares, losses.length), losses.length);
    }

    /// `loss = mean(a - b)` token by token: the logarithm of a ratio of perplexities. What both
    /// models find hard or easy cancels, so its error is far smaller than that of either
    /// perplexity.
    public static Perplexity paired(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += (double) a[i] - b[i];
        }
        double mean = sum / a.length;
        double squares = 0;
        for (int i = 0; i < a.length; i++) {
            double d = (double) a[i] - b[i] - mean;
            squares += d * d;
        }
        return new Perplexity(mean, error(squares, a.length), a.length);
    }

    private static double error(double squares, int n) {
        return Math.sqrt(squares / (n - 1) / n);
    }

    /// `exp(loss)`
    public double value() {
        return Math.exp(loss);
    }

    /// Standard error of [#value], to first order.
    public double valueError() {
        return value() * error;
    }
}
