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
public record Parameter(String name, Tensor values, Tensor gradient, AdamState adam) {
    /// @param memory holds gradient and states: [#bytes]
    public static Parameter of(
            String name, Tensor values, Algorithm algorithm, TensorArena memory, Backend backend) {
        Tensor gradient = memory.allocate(DType.F32, values.shape());
        AdamState adam = AdamState.zeros(algorithm, values.shape(), memory, backend);
        return new Parameter(name, values, gradient, adam);
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
