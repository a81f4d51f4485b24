// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.evaluation.Likelihood;
import java.util.List;

/// What the answers to an item are held against.
sealed interface Key {
    /// The item's part of a metric: 1 or 0 for right or wrong, else a log-likelihood.
    double value(Metric metric, List<Likelihood> answers);

    /// What it counts in a metric.
    default long weight(Metric metric) {
        return 1;
    }

    /// @param right index of the right choice
    /// @param lengths characters of each choice
    record Choice(int right, int[] lengths) implements Key {
        @Override
        public double value(Metric metric, List<Likelihood> answers) {
            int best = 0;
            for (int i = 1; i < answers.size(); i++) {
                if (score(metric, answers, i) > score(metric, answers, best)) {
                    best = i;
                }
            }
            return best == right ? 1 : 0;
        }

        private double score(Metric metric, List<Likelihood> answers, int i) {
            double logarithm = answers.get(i).logarithm();
            return metric == Metric.ACC_NORM ? logarithm / lengths[i] : logarithm;
        }
    }

    /// One ending, which is right where the model would say it.
    record Ending() implements Key {
        @Override
        public double value(Metric metric, List<Likelihood> answers) {
            Likelihood answer = answers.getFirst();
            return metric == Metric.ACC ? (answer.greedy() ? 1 : 0) : answer.logarithm();
        }
    }

    /// A document, in windows.
    ///
    /// @param bytes in UTF-8
    record Document(long words, long bytes) implements Key {
        @Override
        public double value(Metric metric, List<Likelihood> answers) {
            return answers.stream().mapToDouble(Likelihood::logarithm).sum();
        }

        @Override
        public long weight(Metric metric) {
            return metric == Metric.WORD_PERPLEXITY ? words : bytes;
        }
    }
}
