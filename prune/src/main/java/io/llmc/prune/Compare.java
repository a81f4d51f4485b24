// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

/// Which weights of a layer compete for staying.
enum Compare {
    /// Those of one output.
    ROW,
    /// All of them.
    LAYER
}
