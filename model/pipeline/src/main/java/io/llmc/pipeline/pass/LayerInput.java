// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.model.Linear;
import io.llmc.tensor.Tensor;
import java.util.List;

/// What linear layers of a stage are about to read; valid while it is shown.
///
/// @param layers all that read it
/// @param x F32 `[tokens, in]`
/// @param gates F32 `[tokens]`: by how much the tokens of an expert take its output, where that is
///   shown; null where it is the input of layers alone
/// @param original the same in the original model; null where nobody asked for it
public record LayerInput(List<Linear> layers, Tensor x, Tensor gates, Original original) {
    /// The same tokens in the original model.
    ///
    /// @param x F32 `[tokens, in]`, what its layers read
    /// @param lag F32 `[tokens, hidden]`: its residual stream minus the compressed model's
    public record Original(Tensor x, Tensor lag) {}
}
