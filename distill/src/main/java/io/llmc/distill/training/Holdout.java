// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import java.util.Arrays;

/// How many windows of each text are only measured.
final class Holdout {
    private Holdout() {}

    /// In proportion to the windows: always to the text that is most behind its share, but first
    /// one to each where there are enough.
    ///
    /// @param count in all
    /// @param windows of every text
    static int[] of(int count, int[] windows) {
        int[] held = new int[windows.length];
        long total = 0;
        for (int w : windows) {
            total += w;
        }
        int given = 0;
        if (count >= windows.length) {
            Arrays.fill(held, 1);
            given = windows.length;
        }
        for (; given < count; given++) {
            int most = 0;
            for (int s = 1; s < windows.length; s++) {
                if (behind(s, count, held, windows, total)
                        > behind(most, count, held, windows, total)) {
                    most = s;
                }
            }
            held[most]++;
        }
        return held;
    }

    private static long behind(int s, int count, int[] held, int[] windows, long total) {
        return (long) count * windows[s] - held[s] * total;
    }
}
