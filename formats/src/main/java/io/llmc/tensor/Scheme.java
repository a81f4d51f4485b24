// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.util.Optional;

/// How a linear layer is quantized.
///
/// @param inputs empty where they stay as they are
public record Scheme(Encoding weights, Optional<ActivationScheme> inputs) {
    /// Weights alone.
    public static Scheme of(Encoding weights) {
        return new Scheme(weights, Optional.empty());
    }

    /// For people: `4 bits, groups of 64, symmetric`, with what happens to inputs.
    public String describe() {
        return weights.describe() + inputs.map(a -> ", inputs " + a.describe()).orElse("");
    }
}
