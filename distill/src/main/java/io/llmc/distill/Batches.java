// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.formats.UserException;
import io.llmc.tokenizer.Windows;
import java.util.Arrays;
import java.util.stream.IntStream;

/// Windows of a text in a seeded order, another one in every epoch. Which windows a step sees
/// depends on its number alone, so that a run can go on anywhere.
///
/// @param ids the whole text, in order
/// @param training windows to learn from, the first ones of the text
/// @param holdout windows behind them
record Batches(
        int[] ids, int length, int training, int holdout, int batch, long seed, Orders orders) {

    /// @throws UserException where the text is too short
    static Batches of(int[] ids, DistillSpec spec) {
        int windows = ids.length / spec.length();
        int training = windows - spec.holdout();
        if (training < 1) {
            throw new UserException(
                    "%s has %,d tokens: %d windows of %d, and %d of them are held out"
                            .formatted(
                                    spec.data() == null ? spec.teacherCache() : spec.data(),
                                    ids.length,
                                    windows,
                                    spec.length(),
                                    spec.holdout()),
                    "give a longer text, lower --length or lower --holdout");
        }
        return new Batches(
                ids,
                spec.length(),
                training,
                spec.holdout(),
                spec.batch(),
                spec.seed(),
                new Orders());
    }

    /// Which windows of the text a batch holds.
    ///
    /// @param number of the batch, from 0
    int[] chosen(long number) {
        int[] chosen = new int[batch];
        for (int i = 0; i < batch; i++) {
            long at = number * batch + i;
            chosen[i] = permuted((int) (at % training), at / training);
        }
        return chosen;
    }

    /// The windows of a batch.
    Windows batch(long number) {
        int[] chosen = chosen(number);
        int[] all = new int[batch * length];
        for (int i = 0; i < batch; i++) {
            System.arraycopy(ids, chosen[i] * length, all, i * length, length);
        }
        return Windows.of(all, length);
    }

    /// Which windows of the text [#held] gives.
    int[] chosenHeld(int from, int to) {
        return IntStream.range(training + from, training + to).toArray();
    }

    /// The windows that are only measured, some at a time.
    Windows held(int from, int to) {
        int first = (training + from) * length;
        return Windows.of(Arrays.copyOfRange(ids, first, first + (to - from) * length), length);
    }

    /// Place `i` of an epoch's order: Fisher-Yates over SplitMix64.
    private int permuted(int i, long epoch) {
        if (epoch != orders.epoch) {
            orders.epoch = epoch;
            orders.order = order(epoch);
        }
        return orders.order[i];
    }

    /// The order of the epoch that was last asked for.
    static final class Orders {
        private long epoch = -1;
        private int[] order;
    }

    private int[] order(long epoch) {
        int[] all = new int[training];
        Arrays.setAll(all, k -> k);
        long state = seed * 0x9e3779b97f4a7c15L + epoch;
        for (int k = training - 1; k > 0; k--) {
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
