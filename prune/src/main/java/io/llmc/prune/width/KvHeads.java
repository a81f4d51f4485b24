// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Collectors;

/// A linear layer with the heads of K, of V, or of K and then V.
///
/// @param weight dense, `[out, in]`
/// @param bias `[out]`, or null
/// @param queries rows before the heads: the queries' where one layer holds q, k and v
record KvHeads(Linear layer, Tensor weight, Tensor bias, long queries, int headDim) {
    /// Those of a block.
    static List<KvHeads> of(DecoderBlock block) {
        Map<String, Linear> linears =
                block.linears().stream().collect(Collectors.toMap(Linear::name, l -> l));
        SequencedMap<String, Span> first = new LinkedHashMap<>();
        block.spec()
                .pruneGroup(Size.KV_HEADS)
                .orElseThrow()
                .rows()
                .forEach(span -> first.putIfAbsent(span.linear(), span));
        return first.values().stream()
                .map(span ->
                        of(
                                linears.get(span.linear()),
                                block.parameters().get(span.linear() + ".bias"),
                                span.from(),
                                span.width()))
                .toList();
    }

    private static KvHeads of(Linear layer, Tensor bias, long queries, int headDim) {
        if (layer.weight() instanceof Weight.Dense(Tensor values)) {
            return new KvHeads(layer, values, bias, queries, headDim);
        }
        throw new IllegalStateException(layer.name() + " is packed, so its heads have no mean");
    }

    /// Rows of the heads.
    long rows() {
        return weight.rows() - queries;
    }

    int heads() {
        return (int) rows() / headDim;
    }

    /// What each head counts in the mean of its group of `ratio` neighbours.
    float[] equalShares(int ratio) {
        float[] shares = new float[heads()];
        Arrays.fill(shares, 1f / ratio);
        return shares;
    }

    /// Puts the mean of every group of heads in their place.
    ///
    /// Where one layer holds K and then V, no group has heads of both: `ratio` divides the number
    /// of each.
    ///
    /// @param d receives the result, F32 `[queries + rows / ratio, columns]`
    /// @param x the weight, or the bias as a column
    /// @param shares `[heads]`
    Tensor pool(Desk d, Tensor x, float[] shares, int ratio) {
        long all = queries + rows();
        Tensor out = d.f32(queries + rows() / ratio, x.cols());
        Tensor pooled = out.rows(queries, out.rows());
        if (queries > 0) {
            d.run(new ForwardOp.Scale(out.rows(0, queries), x.rows(0, queries), 1));
        }
        d.run(new ForwardOp.Zero(pooled));
        try (Desk scratch = d.fresh(4 * rows() * (x.cols() + 2) + 4096)) {
            Tensor heads = scratch.f32(rows(), x.cols());
            d.run(new ForwardOp.Scale(heads, x.rows(queries, all), 1));
            int[] rows = new int[heads() * headDim];
            float[] weights = new float[rows.length];
            for (int r = 0; r < rows.length; r++) {
                int head = r / headDim;
                rows[r] = head / ratio * headDim + r % headDim;
                weights[r] = shares[head];
            }
            d.run(
                    new ForwardOp.AccumulateRows(
                            pooled, heads, scratch.ints(rows), scratch.floats(weights), 1));
        }
        return out;
    }
}
