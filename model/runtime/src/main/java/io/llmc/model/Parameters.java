// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Optional;

/// Where a block's tensors come from: a checkpoint, or what a pass puts in their place.
///
/// Everything it gives lies where the backend computes.
public interface Parameters {
    /// A linear layer's matrix, `[out, in]`.
    ///
    /// @param linear the layer's name, without `.weight`
    Weight weight(String linear);

    /// How a linear layer's inputs are rounded; empty where they stay as they are.
    Optional<InputRounding> rounding(String linear);

    /// How keys and values are rounded; empty where they stay as they are.
    Optional<CacheScheme> cache();

    /// A norm's weight, a bias, an embedding, as it is stored.
    Tensor tensor(String name);

    /// What to name where a shape is wrong.
    java.nio.file.Path place();
}
