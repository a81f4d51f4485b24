// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.distill.spec.DistillSpec;
import java.util.Arrays;

/// The order of a text's windows in every epoch: Fisher-Yates over SplitMix64, or as they are.
final class Orders {
    private final int windows;
    private final long seed;
    private final DistillSpec.Order how;
    // The order of the epoch that was last asked for.
    private long epoch = -1;
    private int[] order;

    Orders(int windows, long seed, DistillSpec.Order how) {
        this.windows = windows;
        this.seed = seed;
        this.how = how;
    }

    /// Place `number` of all epochs one after the other.
    int window(long number) {
        int place = (int) (number % windows);
        return switch (how) {
            case FIRST -> place;
            case SHUFFLED -> shuffled(number / windows)[place];
        };
    }

    private int[] shuffled(long asked) {
        if (asked != epoch) {
            epoch = asked;
            order = order(asked);
        }
        return order;
    }

    private int[] order(long asked) {
        int[] all = new int[windows];
        Arrays.setAll(all, k -> k);
        long state = seed * 0x9e3779b97f4a7c15L + asked;
        for (int k = windows - 1; k > 0; k--) {
            state += 0x9e3779b97f4a7c15L;
            long z = (state ^ (state >>> 30)) * 0xbf58476d1ce4e5b9L;
            z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
            z ^= z >>> 31;
            int j = (int) Math.unsignedMultiplyHigh(z, k + 1L);
            int swapped = all[k];
            all[k] = all[j];
            all[j] = swapped;
        }
        return all;
    }
}
