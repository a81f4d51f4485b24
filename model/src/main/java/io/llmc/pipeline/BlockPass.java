// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.tensor.QuantSpec;
import java.util.Optional;
import java.util.SequencedMap;

/// Compresses one decoder block at a time; a record of its options.
public interface BlockPass {
    /// The key in a recipe: `gptq`.
    String name();

    /// Whether it reads calibration data. Where no pass does, blocks are not run at all.
    boolean calibrates();

    /// Which of a block's linear layers it works on.
    Targets targets();

    /// The grid of the weights that it leaves behind; empty where they stay dense.
    Optional<QuantSpec> encoding();

    /// Whether codes keep an order of their own: the output then has a group index.
    default boolean groupIndex() {
        return false;
    }

    /// What a reader of the output may want to know of its options, with JSON values.
    SequencedMap<String, Object> describe();

    /// Observe, solve, replace: walks the block's stages in order.
    void apply(BlockScope scope);
}
