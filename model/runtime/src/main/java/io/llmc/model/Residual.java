// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;

/// The end of a sublayer.
final class Residual {
    private Residual() {}

    /// Writes a sublayer's result, `[tokens, hidden]`.
    @FunctionalInterface
    interface Sublayer {
        void forward(Forward f, Tensor out);
    }

    /// `x + postNorm(sublayer)`, without the norm where it is null.
    static Tensor add(Forward f, Tensor x, Norm postNorm, Sublayer sublayer) {
        Tensor sum = f.allocate(x.rows(), x.cols());
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor y = inner.allocate(x.rows(), x.cols());
            sublayer.forward(inner, y);
            if (postNorm != null) {
                Tensor normed = inner.allocate(x.rows(), x.cols());
                postNorm.forward(inner, normed, y);
                y = normed;
            }
            f.run(new ForwardOp.Add(sum, x, y, 1));
        }
        return sum;
    }
}
