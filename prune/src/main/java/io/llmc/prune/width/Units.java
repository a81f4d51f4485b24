// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/// The inputs of a layer in units of which each stays or goes as a whole: single channels, heads,
/// or heads that share a KV head.
///
/// @param count of units
/// @param width inputs of each; unit `u` is the inputs `[u * width, (u + 1) * width)`
/// @param cells units that compete with each other; every cell loses as many as the others
/// @param removed from each cell
record Units(int count, int width, List<List<Integer>> cells, int removed) {
    /// All units compete.
    static Units together(int count, int width, int kept) {
        return new Units(
                count, width, List.of(IntStream.range(0, count).boxed().toList()), count - kept);
    }

    /// Units compete within `cells` runs of equal length.
    static Units inRuns(int count, int width, int cells, int keptOfEach) {
        int each = count / cells;
        List<List<Integer>> runs = new ArrayList<>();
        for (int c = 0; c < cells; c++) {
            runs.add(IntStream.range(c * each, (c + 1) * each).boxed().toList());
        }
        return new Units(count, width, runs, each - keptOfEach);
    }

    /// The same where only some cells are left.
    Units within(int[] left) {
        return new Units(count, width, IntStream.of(left).mapToObj(cells::get).toList(), removed);
    }

    /// The inputs of some units, in the order of the units.
    int[] inputs(int[] units) {
        int[] all = new int[units.length * width];
        for (int i = 0; i < all.length; i++) {
            all[i] = units[i / width] * width + i % width;
        }
        return all;
    }

    /// Units that are not among these, which must ascend.
    int[] others(int[] units) {
        boolean[] taken = new boolean[count];
        for (int u : units) {
            taken[u] = true;
        }
        return IntStream.range(0, count).filter(u -> !taken[u]).toArray();
    }
}
