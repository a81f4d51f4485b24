// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import java.util.SequencedMap;

/// A method: a record of its options.
public sealed interface Pass permits BlockPass, ModelPass {
    /// The key in a recipe: `gptq`.
    String name();

    /// Whether it reads calibration data. Where no pass does, blocks are not run at all.
    boolean calibrates();

    /// What a reader of the output may want to know of its options, with JSON values.
    SequencedMap<String, Object> describe();
}
