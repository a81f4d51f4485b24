// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Chooses the keys that an attention sees.
///
/// @param layers of queries, keys and weights
/// @param norm of keys
record Indexer(IndexerSpec spec, List<Linear> layers, Norm norm) {
    /// @param chosen `[tokens, most]`
    /// @param x what the attention reads
    /// @param narrow what its queries are made of
    void choose(Forward f, Tensor chosen, Tensor x, Tensor narrow) {
        Tensor queries = turned(f, through(f, layers.get(0), narrow));
        Tensor keys = through(f, layers.get(1), x);
        Tensor normed = f.allocate(keys.rows(), keys.cols());
        norm.forward(f, normed, keys);
        Tensor weights = through(f, layers.get(2), x);
        // Scores are divided by the roots of the size of a head and of how many there are, which
        // changes no choice.
        f.run(
                new SparseOp.Choose(
                        chosen, queries, turned(f, normed), weights, f.positions().length()));
    }

    private static Tensor through(Forward f, Linear layer, Tensor x) {
        Tensor y = f.allocate(x.rows(), layer.weight().outFeatures());
        layer.forward(f, y, x);
        return y;
    }

    private Tensor turned(Forward f, Tensor x) {
        if (spec.turns() == null) {
            return x;
        }
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(
                new ForwardOp.Rope(
                        y,
                        x,
                        f.positions().table(spec.turns()),
                        spec.dim(),
                        f.positions().length(),
                        spec.turns().interleaved()));
        return y;
    }
}
