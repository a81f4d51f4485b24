// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.backend.SparseOp;
import io.llmc.model.BodySpec.InnerNorm;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.function.UnaryOperator;

/// Which keys the queries of an attention see: the best ones by scores of few heads, which share
/// their keys (DeepSeek V3.2, 2025, arXiv 2512.02556).
///
/// @param prefix of the layers' names
/// @param own whether it chooses; else a block before it has
/// @param heads of its queries
/// @param dim channels of a head
/// @param most keys that are chosen
/// @param turns of the first channels; null for none
/// @param column of the rows between blocks where the choice begins
public record IndexerSpec(
        String prefix, boolean own, int heads, int dim, int most, RopeSpec turns, int column) {
    /// What numbers of keys are multiplied by in the rows between blocks, exactly: they shall weigh
    /// nothing in what is made of a row.
    static final float SMALL = 0x1p-60f;

    private static final double EPS = 1e-6;

    public IndexerSpec {
        if (heads < 1 || dim < 1 || most < 1 || turns != null && turns.rotated() > dim) {
            throw new IllegalArgumentException("no choice by %d heads of %d".formatted(heads, dim));
        }
    }

    String queries() {
        return prefix + "wq_b";
    }

    String keys() {
        return prefix + "wk";
    }

    String weights() {
        return prefix + "weights_proj";
    }

    /// What makes queries of the narrow ones of the attention, keys and the weights of heads of the
    /// stream.
    List<LinearSpec> linears(int hidden, int rank) {
        List<Size> sizes = List.of(Size.HIDDEN);
        return List.of(
                new LinearSpec(
                        queries(), (long) heads * dim, rank, false, List.of(Size.QUERY_RANK)),
                new LinearSpec(keys(), dim, hidden, false, sizes),
                new LinearSpec(weights(), heads, hidden, false, sizes));
    }

    InnerNorm innerNorm() {
        return new InnerNorm(NormSpec.layer(prefix + "k_norm", EPS), 1, dim, Size.HEAD_DIM);
    }

    List<Class<? extends Op>> operations() {
        return own
                ? List.of(SparseOp.Choose.class, SparseOp.ChosenAttention.class)
                : List.of(SparseOp.ChosenAttention.class);
    }

    IndexerSpec renamed(UnaryOperator<String> names) {
        return new IndexerSpec(names.apply(prefix), own, heads, dim, most, turns, column);
    }

    Indexer build(BlockBuilder from, int hidden, int rank) {
        List<Linear> layers = linears(hidden, rank).stream().map(from::router).toList();
        return new Indexer(this, layers, from.norm(innerNorm()));
    }
}
