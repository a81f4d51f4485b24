// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// One projection. Its name is the checkpoint's; its weight is what passes replace.
public final class Linear {
    private final String name;
    private final Tensor bias;
    private Weight weight;

    /// @param name without `.weight`
    /// @param bias `[out]`, or null
    public Linear(String name, Weight weight, Tensor bias) {
        this.name = name;
        this.weight = weight;
        this.bias = bias;
    }

    public String name() {
        return name;
    }

    public Weight weight() {
        return weight;
    }

    public void replace(Weight compressed) {
        this.weight = compressed;
    }

    /// `out = x w^T + bias`
    void forward(Forward f, Tensor out, Tensor x) {
        if (bias == null) {
            f.run(new Op.Matmul(out, x, weight));
            return;
        }
        try (TensorArena scratch = f.arena().scratch()) {
            Tensor product = f.in(scratch).allocate(out.rows(), out.cols());
            f.run(new Op.Matmul(product, x, weight));
            f.run(new Op.AddRow(out, product, bias));
        }
    }
}
