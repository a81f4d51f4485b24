// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.List;

/// Chooses the keys that an attention sees.
///
/// @param layers of queries, of keys and, but where each head chooses by itself, of weights
/// @param norms of queries, where they have one, and of keys
/// @param pool as in [IndexerSpec#innerTensors]
record Indexer(IndexerSpec spec, List<Linear> layers, List<Norm> norms, List<Tensor> pool) {
    /// Room for the numbers of the chosen keys, `[tokens * lists, keys]`.
    Tensor allocate(Forward f, long tokens) {
        return f.allocate(tokens * spec.lists(), spec.choice().keys());
    }

    /// @param x what the attention reads
    /// @param narrow what its queries are made of
    void choose(Forward f, Tensor chosen, Tensor x, Tensor narrow) {
        Tensor queries = through(f, layers.get(0), narrow);
        if (spec.layers().queryNorm() != null) {
            queries = normed(f, norms.getFirst(), queries);
        }
        Tensor keys = turned(f, normed(f, norms.getLast(), through(f, layers.get(1), x)));
        boolean pooled = spec.choice().pooled();
        if (pooled) {
            keys = beside(f, keys, x);
        }
        // Scores may be divided by the roots of the size of a head and of how many there are, which
        // changes no choice.
        f.choose(
                spec.pages(),
                new SparseOp.Choose(
                        chosen,
                        turned(f, queries),
                        new SparseOp.Keys.Whole(keys, f.positions().length()),
                        spec.byHead() ? null : through(f, layers.get(2), x),
                        pooled ? pool.getLast() : null,
                        spec.choice()));
    }

    /// Each key, and behind it what its weight in its block is made of.
    private Tensor beside(Forward f, Tensor keys, Tensor x) {
        Tensor gates = f.allocate(keys.rows(), keys.cols());
        f.run(new ForwardOp.Matmul(gates, x, new Weight.Dense(pool.getFirst())));
        Tensor both = f.allocate(keys.rows(), 2 * keys.cols());
        f.run(new ForwardOp.PutColumns(both, keys, 0));
        f.run(new ForwardOp.PutColumns(both, gates, keys.cols()));
        return both;
    }

    private static Tensor through(Forward f, Linear layer, Tensor x) {
        Tensor y = f.allocate(x.rows(), layer.weight().outFeatures());
        layer.forward(f, y, x);
        return y;
    }

    private Tensor normed(Forward f, Norm norm, Tensor x) {
        Tensor y = f.allocate(x.rows(), x.cols());
        norm.forwardHeads(f, y, x, spec.dim());
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
