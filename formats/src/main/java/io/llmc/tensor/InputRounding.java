// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.util.function.UnaryOperator;

/// How one layer's inputs are rounded, with what a static scheme needs for it.
///
/// @param scale F32, F16 or BF16 `[1]`; null where the scheme is dynamic
public record InputRounding(ActivationScheme scheme, Tensor scale) {
    /// Rounding whose scales are made of the inputs at hand.
    public static InputRounding dynamic(ActivationScheme scheme) {
        return new InputRounding(scheme, null);
    }

    /// The same with a copy of its scale elsewhere.
    public InputRounding with(UnaryOperator<Tensor> f) {
        return scale == null ? this : new InputRounding(scheme, f.apply(scale));
    }
}
