// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.Locale;

/// A figure of a task, under lm-eval's name.
public enum Metric {
    /// Share of items whose right choice is the likeliest, or whose ending is what the model would
    /// say.
    ACC,

    /// The same, each choice's log-likelihood divided by its characters.
    ACC_NORM,

    /// Of an item's ending as a whole: `exp` of the mean negative log-likelihood.
    PERPLEXITY,

    /// `exp` of the negative log-likelihood of all documents over their words.
    WORD_PERPLEXITY,

    /// The same over their bytes.
    BYTE_PERPLEXITY,

    /// The binary logarithm of [#BYTE_PERPLEXITY].
    BITS_PER_BYTE;

    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }

    /// Whether an item is right or wrong.
    public boolean isAccuracy() {
        return this == ACC || this == ACC_NORM;
    }
}
