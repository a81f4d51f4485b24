// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import java.util.stream.IntStream;

/// How probable a token was, before any filter: natural logarithms of the model's own
/// probabilities.
///
/// @param id of the token that came
/// @param logprob of it
/// @param top ids of the most probable tokens, best first
/// @param topLogprobs of each
public record TokenScore(int id, double logprob, int[] top, double[] topLogprobs) {
    /// @param number of the most probable tokens to name
    static TokenScore of(float[] logits, int id, int number) {
        double highest = logits[Candidates.best(logits, logits.length)];
        double sum = 0;
        for (float logit : logits) {
            sum += Math.exp(logit - highest);
        }
        double shift = highest + Math.log(sum);
        int[] top = number == 0 ? new int[0] : new Candidates(logits).top(number);
        return new TokenScore(
                id,
                logits[id] - shift,
                top,
                IntStream.of(top).mapToDouble(i -> logits[i] - shift).toArray());
    }
}
