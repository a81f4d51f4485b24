// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.util.Objects;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// How one layer's inputs are rounded, with the numbers that a [calibrated][
/// ActivationScheme#calibrated] scheme needs for it.
///
/// @param scale F32, F16 or BF16 `[1]`: the static scale, or what nested scales are divided by;
///   null where the scheme needs none
/// @param zero I8 `[1]`, the static zero point of asymmetric codes, counted from -128; null where
///   there is none
public record InputRounding(ActivationScheme scheme, Tensor scale, Tensor zero) {
    /// Of symmetric codes.
    public InputRounding(ActivationScheme scheme, Tensor scale) {
        this(scheme, scale, null);
    }

    /// Rounding whose scales are made of the inputs at hand.
    public static InputRounding dynamic(ActivationScheme scheme) {
        return new InputRounding(scheme, null, null);
    }

    public Stream<Tensor> tensors() {
        return Stream.of(scale, zero).filter(Objects::nonNull);
    }

    /// The same with a copy of its numbers elsewhere.
    public InputRounding with(UnaryOperator<Tensor> f) {
        return new InputRounding(
                scheme, scale == null ? null : f.apply(scale), zero == null ? null : f.apply(zero));
    }

    /// Whether it can be done to `[tokens, cols]`, with the numbers that its scheme needs there.
    public boolean fits(long cols) {
        boolean numbers =
                scheme.calibrated()
                        ? scale != null
                                && scale.isVector(
                                        scheme.dynamic() ? 1 : scheme.tiles().across(cols))
                                && scale.dtype().isFloat()
                        : scale == null;
        boolean shifted = scheme.codes() instanceof Codes.Ints i && !i.symmetric();
        boolean zeros =
                shifted && !scheme.dynamic()
                        ? zero != null && zero.isVector(1) && zero.dtype() == DType.I8
                        : zero == null;
        // A scale made of several rows would depend on which rows come together.
        boolean tiles =
                scheme.dynamic()
                        ? scheme.tiles().rows() == 1
                        : scheme.tiles().rows() == Tiles.ALL
                                && (zero == null || scheme.tiles().equals(Tiles.TENSOR));
        boolean plain = scheme.grid().scales() == ScaleKind.FLOAT;
        boolean kinds = plain || scheme.dynamic() && scheme.codes() instanceof Codes.Floats;
        return numbers && zeros && tiles && kinds;
    }
}
