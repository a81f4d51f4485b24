// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

/// What goes into the original at a time.
public enum Unit {
    /// A block with all that is in it: layers, norms, rounded keys and values.
    BLOCKS,

    /// A linear layer of a block: weight, bias, rounding of its inputs.
    LAYERS
}
