// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

/// Which weights of a layer compete for staying.
public enum Compare {
    /// Those of one output.
    ROW,
    /// All of them.
    LAYER
}
