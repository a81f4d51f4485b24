// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.util.Arrays;

/// Whose turn it is, so that after any number of windows no source is a whole window away from its
/// share: of the sources that are behind, the one whose window is due first (Tijdeman, The chairman
/// assignment problem, 1980). After as many windows as the weights add up to nobody is away at all,
/// so one such round says everything.
public final class Shares {
    private final int[] weights;
    private final int[] round;
    private final int[] before;

    /// @param source whose window it is
    /// @param number of the source's own windows before it
    public record Turn(int source, long number) {}

    /// @param given each at least 1
    public Shares(int[] given) {
        int divisor = Arrays.stream(given).reduce(0, Shares::gcd);
        weights = Arrays.stream(given).map(w -> w / divisor).toArray();
        int total = Arrays.stream(weights).reduce(0, Math::addExact);
        round = new int[total];
        before = new int[total];
        int[] drawn = new int[weights.length];
        for (int k = 0; k < total; k++) {
            int turn = weights.length == 1 ? 0 : dueFirst(k + 1L, drawn, total);
            round[k] = turn;
            before[k] = drawn[turn]++;
        }
    }

    private int dueFirst(long windows, int[] drawn, long total) {
        long parts = 2L * weights.length - 2;
        int first = -1;
        long firstLeft = 0;
        for (int s = 0; s < weights.length; s++) {
            long behind = parts * (windows * weights[s] - drawn[s] * total);
            long left = (parts - 1) * total - behind;
            // left / weight is the time until the window must have come.
            if (behind >= total && (first < 0 || left * weights[first] < firstLeft * weights[s])) {
                first = s;
                firstLeft = left;
            }
        }
        return first;
    }

    /// @param window number in the whole run, from 0
    public Turn turn(long window) {
        int k = (int) (window % round.length);
        return new Turn(round[k], window / round.length * weights[round[k]] + before[k]);
    }

    private static int gcd(int a, int b) {
        return b == 0 ? a : gcd(b, a % b);
    }
}
