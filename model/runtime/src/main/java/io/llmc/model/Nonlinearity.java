// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.UnaryOperator;

/// What stands between the layers of a feed-forward, as data.
public sealed interface Nonlinearity {
    /// A function without numbers, of the gate or of the one input.
    record Plain(ForwardOp.Activation activation) implements Nonlinearity {}

    /// Of gate and up; there must be both.
    record ClampedSwiGlu(ForwardOp.Clamp clamp) implements Nonlinearity {}

    /// Of a gate of which only what lies so many standard deviations above the mean of a token's
    /// channels is left (Gemma 3n).
    record Sparse(ForwardOp.Activation activation, float deviations) implements Nonlinearity {}

    /// Of one input, with numbers of its own in the checkpoint.
    ///
    /// @param prefix what their names begin with
    record Xielu(String prefix) implements Nonlinearity {}

    /// The tensors that it has.
    default List<InnerTensor> tensors() {
        return switch (this) {
            case Plain _, Sparse _, ClampedSwiGlu _ -> List.of();
            case Xielu(String prefix) ->
                    List.of(
                            new InnerTensor(prefix + "alpha_p", new Shape(1), List.of()),
                            new InnerTensor(prefix + "alpha_n", new Shape(1), List.of()),
                            new InnerTensor(prefix + "beta", new Shape(), List.of()),
                            new InnerTensor(prefix + "eps", new Shape(), List.of()));
        };
    }

    default Nonlinearity renamed(UnaryOperator<String> names) {
        return switch (this) {
            case Plain _, Sparse _, ClampedSwiGlu _ -> this;
            case Xielu(String prefix) -> new Xielu(names.apply(prefix));
        };
    }
}
