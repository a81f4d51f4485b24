// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.List;
import java.util.Locale;

/// What a task asks, under lm-eval's names.
enum Kind {
    /// The likeliest of several continuations.
    MULTIPLE_CHOICE(Metric.ACC, Metric.ACC_NORM),

    /// One continuation.
    LOGLIKELIHOOD(Metric.PERPLEXITY, Metric.ACC),

    /// A whole document, in windows.
    LOGLIKELIHOOD_ROLLING(Metric.WORD_PERPLEXITY, Metric.BYTE_PERPLEXITY, Metric.BITS_PER_BYTE);

    private final List<Metric> metrics;

    Kind(Metric... metrics) {
        this.metrics = List.of(metrics);
    }

    String label() {
        return name().toLowerCase(Locale.ROOT);
    }

    /// Those that it has, and shows where a task names none.
    List<Metric> metrics() {
        return metrics;
    }
}
