// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.Tensor;
import java.util.List;

/// Sees the input of linear layers during a forward pass. This is all that calibration needs.
@FunctionalInterface
public interface Tap {
    Tap NONE = (_, _) -> {};

    /// @param layers the layers that are about to read `input`, all of them
    /// @param input `[tokens, in]`; valid during the call only
    void before(List<Linear> layers, Tensor input);
}
