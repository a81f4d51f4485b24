// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.Desk;
import io.llmc.model.structure.PruneGroup;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.IntStream;

/// Which parts stay of the groups that are columns of one layer.
///
/// @param groups coarser ones first: parts of a finer group compete within a part of the one before
record PartChoice(List<PruneGroup> groups, WidthSizes sizes) {
    /// @param scratch at least [Refit#scratchBytes]
    /// @return ascending parts of each group
    SequencedMap<PruneGroup, int[]> of(UnitSelection selection, Desk scratch) {
        SequencedMap<PruneGroup, int[]> kept = new LinkedHashMap<>();
        PruneGroup above = null;
        for (PruneGroup group : groups) {
            int width = group.columns().getFirst().width();
            int stay = sizes.of(group);
            Units units = Units.together(group.count(), width, stay);
            int[] among = IntStream.range(0, group.count()).toArray();
            if (above != null) {
                int[] left = kept.get(above);
                int runs = above.count();
                int each = group.count() / runs;
                units =
                        Units.inRuns(group.count(), width, runs, stay / sizes.of(above))
                                .within(left);
                among =
                        IntStream.of(left)
                                .flatMap(run -> IntStream.range(run * each, (run + 1) * each))
                                .toArray();
            }
            kept.put(group, selection.kept(units, among, scratch));
            above = group;
        }
        return kept;
    }

    /// The columns of the layer that stay, ascending.
    int[] columns(SequencedMap<PruneGroup, int[]> kept) {
        int[] parts = kept.get(groups.getLast());
        return groups.getLast().columns().getFirst().indices(parts).toArray();
    }

    /// For people.
    String text() {
        PruneGroup finest = groups.getLast();
        return "%d of %d %s".formatted(sizes.of(finest), finest.count(), finest.size().parts());
    }
}
