// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.List;

/// Channels that may be scaled without changing what a block computes: multiplied where they are
/// made, divided where they are read.
///
/// @param readers names of all linear layers that read the channels
public record ScaleGroup(Source source, List<String> readers) {
    /// What makes the channels.
    public sealed interface Source {}

    /// A norm's weight and bias; its readers' columns are the channels.
    public record Weights(NormSpec norm) implements Source {}

    /// Rows of a linear layer and of its bias.
    ///
    /// @param parts of the rows
    /// @param repeat neighbouring parts of the readers' columns that read the same part: the query
    ///   heads of a KV head
    public record Rows(Span rows, int parts, int repeat) implements Source {
        /// The channel that a column of the readers reads.
        public int channel(int column) {
            return column / rows.width() / repeat * rows.width() + column % rows.width();
        }
    }
}
