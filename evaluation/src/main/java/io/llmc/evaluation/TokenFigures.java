// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.evaluation.EvalResult.Comparison;

/// What an evaluation keeps of every scored token, in the order of the text.
///
/// The arrays of the comparison are null where there is none.
final class TokenFigures {
    final float[] losses;
    float[] originalLosses;
    float[] divergences;
    private long agreeing;

    TokenFigures(int tokens, boolean compares) {
        losses = new float[tokens];
        if (compares) {
            originalLosses = new float[tokens];
            divergences = new float[tokens];
        }
    }

    /// Both models found the same token the likeliest, or not.
    void agree(boolean same) {
        agreeing += same ? 1 : 0;
    }

    /// Null where there is none.
    Comparison comparison() {
        return divergences == null
                ? null
                : new Comparison(
                        Perplexity.of(originalLosses),
                        PerplexityRatio.of(losses, originalLosses),
                        Drift.of(divergences, losses, originalLosses, agreeing));
    }
}
