// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.evaluation.Likelihood;
import io.llmc.evaluation.Perplexity;
import io.llmc.evaluation.PerplexityRatio;
import io.llmc.evaluation.tasks.TaskResult.Change;
import io.llmc.evaluation.tasks.TaskResult.Figure;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// One model's answers under one metric, item by item.
///
/// @param values of each item: 1 or 0 for right or wrong, else a log-likelihood
/// @param weights what each counts
record Scores(Metric metric, double[] values, long[] weights) {
    /// @param answers of each item
    static Scores of(Metric metric, List<Key> keys, List<List<Likelihood>> answers) {
        double[] values = new double[keys.size()];
        long[] weights = new long[keys.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = keys.get(i).value(metric, answers.get(i));
            weights[i] = keys.get(i).weight(metric);
        }
        return new Scores(metric, values, weights);
    }

    Figure figure() {
        return switch (metric) {
            case ACC, ACC_NORM -> new Figure(mean(), meanError());
            case PERPLEXITY -> {
                Perplexity p = Perplexity.of(losses());
                yield new Figure(p.value(), p.valueError());
            }
            case WORD_PERPLEXITY, BYTE_PERPLEXITY -> new Figure(Math.exp(loss()), Double.NaN);
            case BITS_PER_BYTE -> new Figure(loss() / Math.log(2), Double.NaN);
        };
    }

    private double mean() {
        return Arrays.stream(values).sum() / values.length;
    }

    /// Of the sample, as lm-eval has it.
    private double meanError() {
        double mean = mean();
        double squares = Arrays.stream(values).map(v -> (v - mean) * (v - mean)).sum();
        return Math.sqrt(squares / (values.length - 1) / values.length);
    }

    /// Nats a word, or a byte.
    private double loss() {
        return -Arrays.stream(values).sum() / Arrays.stream(weights).sum();
    }

    private float[] losses() {
        float[] losses = new float[values.length];
        for (int i = 0; i < losses.length; i++) {
            losses[i] = (float) -values[i];
        }
        return losses;
    }

    /// @param original the original's answers to the same items
    Change changeFrom(Scores original) {
        return switch (metric) {
            case ACC, ACC_NORM -> {
                List<Integer> lost = where(original.values, values);
                List<Integer> won = where(values, original.values);
                yield new Change.Flips(lost, won, McNemar.p(lost.size(), won.size()));
            }
            case PERPLEXITY -> {
                PerplexityRatio p = PerplexityRatio.of(losses(), original.losses());
                yield new Change.Ratio(p.value(), p.low(), p.high());
            }
            case WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE ->
                    new Change.Ratio(
                            figure().value() / original.figure().value(), Double.NaN, Double.NaN);
        };
    }

    private static List<Integer> where(double[] right, double[] wrong) {
        List<Integer> items = new ArrayList<>();
        for (int i = 0; i < right.length; i++) {
            if (right[i] > wrong[i]) {
                items.add(i);
            }
        }
        return items;
    }
}
