// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.util.Arrays;

/// Token ids of which a model is asked how likely it finds the last ones.
///
/// @param input what the model reads: its last `targets.length` rows predict the targets
/// @param targets one at least, and no more than there are rows
/// @param cut ids that were left out in front because the model does not see as many
public record Continuation(int[] input, int[] targets, int cut) {
    public Continuation {
        if (targets.length < 1 || targets.length > input.length) {
            throw new IllegalArgumentException(
                    "%d ids predict %d".formatted(input.length, targets.length));
        }
    }

    /// What follows a context, which loses its first ids where both together are too long.
    ///
    /// @param context one id at least
    /// @param longest ids that the model sees at once; at least as many as the continuation has
    public static Continuation of(int[] context, int[] continuation, int longest) {
        int all = context.length + continuation.length;
        int cut = Math.max(0, all - longest - 1);
        int[] input = Arrays.copyOfRange(context, cut, all - 1);
        int from = context.length - cut;
        System.arraycopy(continuation, 0, input, from, input.length - from);
        return new Continuation(input, continuation, cut);
    }

    /// The row that predicts the first target.
    int firstRow() {
        return input.length - targets.length;
    }
}
