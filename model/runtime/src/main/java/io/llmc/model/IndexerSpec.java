// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.backend.SparseOp;
import io.llmc.model.BodySpec.InnerNorm;
import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// Which keys the queries of an attention see: the best ones by scores of few heads, which share
/// their keys (DeepSeek V3.2, 2025, arXiv 2512.02556).
///
/// @param own whether it chooses; else a block before it has
/// @param heads of its queries
/// @param dim channels of a head
/// @param turns of the first channels; null for none
/// @param column of the rows between blocks where the choice begins; 0 where no later block reads
///   it
public record IndexerSpec(
        Layers layers,
        boolean own,
        int heads,
        int dim,
        SparseOp.Choice choice,
        RopeSpec turns,
        int column) {
    /// @param queries name of the layer that makes queries of the stream, or of what the
    ///   attention's are made of where that is narrower
    /// @param keys name of the layer that makes a key of the stream
    /// @param weights name of the layer that makes a weight for each head of the stream; null where
    ///   each head chooses by itself
    /// @param queryNorm over each head; null for none
    /// @param pool null where single keys are compared
    public record Layers(
            String queries,
            String keys,
            String weights,
            NormSpec queryNorm,
            NormSpec keyNorm,
            Pool pool) {
        public Layers pooledBy(Pool other) {
            return new Layers(queries, keys, weights, queryNorm, keyNorm, other);
        }

        private Layers renamed(UnaryOperator<String> names) {
            return new Layers(
                    names.apply(queries),
                    names.apply(keys),
                    weights == null ? null : names.apply(weights),
                    NormSpec.renamed(queryNorm, names),
                    NormSpec.renamed(keyNorm, names),
                    pool == null ? null : pool.renamed(names));
        }
    }

    /// What the weights of keys in their block are made of.
    ///
    /// @param gate name of a tensor `[dim, hidden]`, which the stream is multiplied by
    /// @param places name of a tensor `[block, dim]`, which is added
    public record Pool(String gate, String places, int hidden) {
        private Pool renamed(UnaryOperator<String> names) {
            return new Pool(names.apply(gate), names.apply(places), hidden);
        }
    }

    public IndexerSpec {
        if (heads < 1
                || dim < 1
                || choice.pooled() != (layers.pool() != null)
                || turns != null && turns.rotated() > dim) {
            throw new IllegalArgumentException("no choice by %d heads of %d".formatted(heads, dim));
        }
    }

    /// Whether each head chooses by itself.
    boolean byHead() {
        return layers.weights() == null;
    }

    /// Of a token.
    int lists() {
        return byHead() ? heads : 1;
    }

    /// Numbers that are chosen for a token.
    int width() {
        return Math.multiplyExact(lists(), choice.keys());
    }

    /// @param rank of what queries are made of; 0 for the stream
    List<LinearSpec> linears(int hidden, int rank) {
        List<LinearSpec> all = new ArrayList<>();
        all.add(
                new LinearSpec(
                        layers.queries(),
                        (long) heads * dim,
                        rank == 0 ? hidden : rank,
                        false,
                        List.of(rank == 0 ? Size.HIDDEN : Size.QUERY_RANK)));
        List<Size> sizes = List.of(Size.HIDDEN);
        all.add(new LinearSpec(layers.keys(), dim, hidden, false, sizes));
        if (!byHead()) {
            all.add(new LinearSpec(layers.weights(), heads, hidden, false, sizes));
        }
        return all;
    }

    /// Of queries, where they have one, and of keys.
    List<InnerNorm> innerNorms() {
        return Stream.of(layers.queryNorm(), layers.keyNorm())
                .filter(norm -> norm != null)
                .map(norm -> new InnerNorm(norm, 1, dim, Size.HEAD_DIM))
                .toList();
    }

    /// Those that pool keys.
    List<InnerTensor> innerTensors() {
        Pool pool = layers.pool();
        return pool == null
                ? List.of()
                : List.of(
                        new InnerTensor(
                                pool.gate(), new Shape(dim, pool.hidden()), List.of(Size.HIDDEN)),
                        new InnerTensor(pool.places(), new Shape(choice.block(), dim), List.of()));
    }

    /// Its keys, by which later tokens choose, with what pools them.
    PageSpec pages() {
        return new PageSpec(layers.keys(), 1, choice.pooled() ? 2 * dim : dim, false);
    }

    List<Class<? extends Op>> operations() {
        return own
                ? List.of(SparseOp.Choose.class, SparseOp.ChosenAttention.class)
                : List.of(SparseOp.ChosenAttention.class);
    }

    /// As ", of the 7 best keys".
    String summary() {
        return choice.block() == 1
                ? ", of the %d best keys".formatted(choice.most())
                : ", of the %d best blocks of %d keys".formatted(choice.most(), choice.block());
    }

    IndexerSpec renamed(UnaryOperator<String> names) {
        return new IndexerSpec(layers.renamed(names), own, heads, dim, choice, turns, column);
    }

    /// @param rank as in [#linears]
    Indexer build(BlockBuilder from, int hidden, int rank) {
        List<Linear> built = linears(hidden, rank).stream().map(from::router).toList();
        List<Norm> norms = innerNorms().stream().map(from::norm).toList();
        return new Indexer(this, built, norms, from.tensors(innerTensors()));
    }
}
