// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/// Which inputs go through a model so that all continuations can be answered: an input that begins
/// another one needs no pass of its own, since no row sees what is to its right. So four choices of
/// one letter each take one pass.
final class SharedInputs {
    /// @param ids what the model reads
    /// @param asked indices of the continuations that it answers, in their order
    record Input(int[] ids, List<Integer> asked) {
        int length() {
            return ids.length;
        }
    }

    private SharedInputs() {}

    /// The longest first; equal lengths in the order of the continuations.
    ///
    /// @param prefixes whether inputs share that are not equal
    static List<Input> of(List<Continuation> all, boolean prefixes) {
        Integer[] order = new Integer[all.size()];
        Arrays.setAll(order, i -> i);
        // A prefix stands right before what it begins. Stable.
        Arrays.sort(order, (a, b) -> Arrays.compare(all.get(a).input(), all.get(b).input()));
        List<Input> inputs = new ArrayList<>();
        List<Integer> asked = new ArrayList<>();
        for (int i = 0; i < order.length; i++) {
            int[] ids = all.get(order[i]).input();
            asked.add(order[i]);
            if (i + 1 == order.length || !covers(all.get(order[i + 1]).input(), ids, prefixes)) {
                inputs.add(new Input(ids, asked.stream().sorted().toList()));
                asked.clear();
            }
        }
        inputs.sort(
                Comparator.comparingInt(Input::length)
                        .reversed()
                        .thenComparing(input -> input.asked.getFirst()));
        return inputs;
    }

    private static boolean covers(int[] longer, int[] ids, boolean prefixes) {
        boolean begins =
                longer.length >= ids.length
                        && Arrays.equals(longer, 0, ids.length, ids, 0, ids.length);
        return begins && (prefixes || longer.length == ids.length);
    }
}
