// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import java.util.Arrays;

/// What filters leave of a vocabulary.
///
/// @param ids rising
/// @param p of each, 1 together
public record Distribution(int[] ids, double[] p) {
    public Distribution {
        if (ids.length == 0 || ids.length != p.length) {
            throw new IllegalArgumentException(
                    "%d tokens with %d probabilities".formatted(ids.length, p.length));
        }
    }

    /// Of a token; 0 where it is not left.
    public double of(int id) {
        int at = Arrays.binarySearch(ids, id);
        return at < 0 ? 0 : p[at];
    }

    /// The token that a number of `[0, 1)` stands for.
    public int draw(double u) {
        double below = 0;
        int last = 0;
        for (int i = 0; i < p.length; i++) {
            below += p[i];
            if (u < below) {
                return ids[i];
            }
            last = p[i] > 0 ? i : last;
        }
        // The sum may end a rounding below 1.
        return ids[last];
    }
}
