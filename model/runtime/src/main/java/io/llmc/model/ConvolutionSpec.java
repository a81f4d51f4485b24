// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.structure.StateSpec;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.UnaryOperator;

/// A causal convolution of each channel by itself.
///
/// @param name without `.weight`, which is `[channels, 1, taps]`
/// @param biased whether it has a bias, `[channels]`
public record ConvolutionSpec(String name, int channels, int taps, boolean biased) {
    public ConvolutionSpec {
        if (channels < 1 || taps < 2) {
            throw new IllegalArgumentException(
                    "no convolution of %d channels over %d rows: %s"
                            .formatted(channels, taps, name));
        }
    }

    InnerTensor weight() {
        return new InnerTensor(name + ".weight", new Shape(channels, 1, taps), List.of());
    }

    InnerTensor bias() {
        return new InnerTensor(name + ".bias", new Shape(channels), List.of());
    }

    List<InnerTensor> tensors() {
        return biased ? List.of(weight(), bias()) : List.of(weight());
    }

    /// The rows before those that come.
    public StateSpec state() {
        return new StateSpec(name, taps - 1L, channels);
    }

    /// Some of its channels, as a convolution of their own.
    ConvolutionSpec part(int from, int count) {
        return new ConvolutionSpec("%s[%d]".formatted(name, from), count, taps, biased);
    }

    public ConvolutionSpec renamed(UnaryOperator<String> names) {
        return new ConvolutionSpec(names.apply(name), channels, taps, biased);
    }
}
