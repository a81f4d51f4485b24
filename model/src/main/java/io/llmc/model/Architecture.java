// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.formats.HfConfig;
import java.util.List;
import java.util.Set;

/// What a family of checkpoints looks like: config.json in, sizes and tensor names out.
///
/// To add one: write a class in `arch`, add it to [io.llmc.model.arch.Architectures#ALL], and put a
/// directory with golden logits into testdata.
public interface Architecture {
    /// The values of `model_type` in config.json that this class understands.
    List<String> modelTypes();

    /// @param tensors the checkpoint's names, for families that were published under several
    ///   spellings
    ModelSpec spec(HfConfig config, Set<String> tensors);
}
