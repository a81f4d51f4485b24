// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.CompressedOp.Compress;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.model.structure.RopeSpec;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Makes keys of several tokens each.
///
/// @param layers of values and of gates
/// @param places `[rate, width]`
record Compressor(CompressorSpec spec, List<Linear> layers, Tensor places, Norm norm) {
    /// @param x what attention reads
    Keys keys(Forward f, Tensor x) {
        int length = f.positions().length();
        long width = places.cols();
        Tensor tokens = f.allocate(x.rows(), 2 * width);
        for (int i = 0; i < 2; i++) {
            Tensor y = f.allocate(x.rows(), width);
            layers.get(i).forward(f, y, x);
            f.run(new ForwardOp.PutColumns(tokens, y, i * width));
        }
        Tensor made = f.allocate(x.rows(), spec.dim());
        f.compress(spec.tokens(), new Compress(made, new Keys.Whole(tokens, length), places));
        Tensor normed = f.allocate(x.rows(), spec.dim());
        norm.forward(f, normed, made);
        return new Keys.Whole(turned(f, normed, spec.keyTurns(), spec.dim()), length);
    }

    /// @param dim channels of a head
    static Tensor turned(Forward f, Tensor x, RopeSpec rope, int dim) {
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(
                new ForwardOp.Rope(
                        y,
                        x,
                        f.positions().table(rope),
                        dim,
                        f.positions().length(),
                        rope.interleaved()));
        return y;
    }
}
