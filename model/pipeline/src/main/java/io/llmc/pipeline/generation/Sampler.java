// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.formats.UserException;
import java.util.BitSet;

/// Chooses tokens as its settings say. Holds no state: a sequence has its own [Draws].
public final class Sampler {
    private final SamplingSettings settings;

    public Sampler(SamplingSettings settings) {
        this.settings = settings;
    }

    public SamplingSettings settings() {
        return settings;
    }

    /// The next token.
    ///
    /// @param logits of the whole vocabulary; stay as they are
    /// @param seen ids of the sequence so far, for the repetition penalty
    /// @param draws asked once where a token is drawn, never where the best is taken
    public int next(float[] logits, BitSet seen, Draws draws) {
        if (settings.isGreedy()) {
            return best(logits, seen);
        }
        return distribution(logits, seen).draw(draws.next());
    }

    private int best(float[] logits, BitSet seen) {
        requireNumbers(logits);
        return settings.repetitionPenalty() == 1
                ? Candidates.best(logits, logits.length)
                : candidates(logits, seen).best();
    }

    /// One that is none makes all of them so.
    private static void requireNumbers(float[] logits) {
        if (Float.isNaN(logits[0])) {
            throw new UserException(
                    "the model predicts NaN, no probabilities",
                    "llmc inspect shows which of its weights are no numbers");
        }
    }

    private Candidates candidates(float[] logits, BitSet seen) {
        Candidates left = new Candidates(logits);
        if (settings.repetitionPenalty() != 1) {
            left.penalise(seen, (float) settings.repetitionPenalty());
        }
        return left;
    }

    /// What the next token is drawn from. Without a temperature the best has all of it.
    public Distribution distribution(float[] logits, BitSet seen) {
        if (settings.isGreedy()) {
            return new Distribution(new int[] {best(logits, seen)}, new double[] {1});
        }
        requireNumbers(logits);
        Candidates left = candidates(logits, seen);
        if (settings.temperature() != 1) {
            left.divide((float) settings.temperature());
        }
        if (settings.topK() > 0) {
            left.topK(settings.topK());
        }
        if (settings.topP() < 1) {
            left.topP(settings.topP());
        }
        if (settings.minP() > 0) {
            left.minP(settings.minP());
        }
        if (settings.typicalP() < 1) {
            left.typicalP(settings.typicalP());
        }
        if (settings.epsilonCutoff() > 0) {
            left.epsilon(settings.epsilonCutoff());
        }
        if (settings.etaCutoff() > 0) {
            left.eta(settings.etaCutoff());
        }
        return left.distribution();
    }
}
