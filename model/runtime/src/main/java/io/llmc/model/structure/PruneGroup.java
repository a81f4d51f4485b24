// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.List;

/// Parts of a body that are all alike, of which pruning may take some out whole: heads, KV heads,
/// channels, experts.
///
/// Where two groups of a body have columns of the same layers, the coarser one comes first, and its
/// parts are runs of the finer one's: a KV head is read by its query heads.
///
/// @param size config.json's number of them
/// @param least parts that must stay
/// @param rows where the parts lie in the layers that make them
/// @param columns where they lie in the layers that read them
/// @param whole of each part the layers that are its own, in the order in which they run; empty
///   where parts are only rows and columns
public record PruneGroup(
        Size size,
        int count,
        int least,
        List<Span> rows,
        List<Span> columns,
        List<List<String>> whole) {
    public static PruneGroup of(Size size, int count, List<Span> rows, Span columns) {
        return new PruneGroup(size, count, 1, rows, List.of(columns), List.of());
    }
}
