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

    /// Sees, after [#before], by how much the tokens of an expert take its output.
    ///
    /// @param down the expert's last layer
    /// @param hidden what it is about to read, `[tokens, in]`; valid during the call only
    /// @param gates the router's weights as they are used, F32 `[tokens]`; likewise
    default void routed(Linear down, Tensor hidden, Tensor gates) {}

    /// Sees keys, after their rotation, and values before they are rounded for a cache.
    ///
    /// @param keys F32 `[tokens, heads * width]`; valid during the call only; `values` too
    default void cached(KvCache cache, Tensor keys, Tensor values) {}
}
