// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.distill.spec.DistillSpec.Algorithm;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;

/// A tensor that learns, F32, with its gradient and what Adam remembers of it.
///
/// @param name as in the checkpoint
/// @param values `[out, in]` for a linear layer, whatever the checkpoint's order
/// @param gradient like `values`
/// @param unit what a rate of 1 adds to a value: scales, which are small, move by parts of their
///   own size
/// @param decays whether it may be pulled towards zero: norms, biases and scales are not
public record Parameter(
        String name, Tensor values, Tensor gradient, AdamState adam, float unit, boolean decays) {
    /// @param memory holds gradient and states: [#bytes]
    public static Parameter of(
            String name, Tensor values, Algorithm algorithm, TensorArena memory, Backend backend) {
        Tensor gradient = memory.allocate(DType.F32, values.shape());
        AdamState adam = AdamState.zeros(algorithm, values.shape(), memory, backend);
        return new Parameter(name, values, gradient, adam, 1, values.shape().rank() > 1);
    }

    /// The same for scales of packed weights, whose unit is their root mean square as they are.
    public Parameter ofScales(Backend backend) {
        double square = backend.squares(values) / size();
        return new Parameter(name, values, gradient, adam, (float) Math.sqrt(square), false);
    }

    /// Of an arena, beside the values.
    ///
    /// @param size values of the parameter
    public static long bytes(long size, Algorithm algorithm) {
        return 4 * size + AdamState.ALIGN + AdamState.bytes(algorithm, size);
    }

    public long size() {
        return values.shape().size();
    }
}
