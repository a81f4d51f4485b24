// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.RowSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Optional;

/// Latent attention of a block: what is made of the stream stays narrow, and each head's queries,
/// keys and values are made of that.
///
/// @param inputs what reads the stream: for queries, then for keys and values
/// @param queryNorm null where queries are made at once; `queryUp` too
/// @param norm of the latent channels
/// @param indexer null where keys are not chosen here
record LatentAttention(
        LatentAttentionSpec spec,
        List<Linear> inputs,
        Norm queryNorm,
        Norm norm,
        Linear queryUp,
        Linear latentUp,
        KvCache cache,
        Linear output,
        Indexer indexer)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new Shrink(), new Attend(), new OutputPart(output));
    }

    private final class Shrink implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(inputs);
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return inputs.stream().map(l -> f.allocate(tokens, l.weight().outFeatures())).toList();
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor normed = in.normed(f);
            f.tap().before(inputs, normed);
            if (!f.observing()) {
                for (int i = 0; i < inputs.size(); i++) {
                    inputs.get(i).forward(f, out.get(i), normed);
                }
            }
        }
    }

    private final class Attend implements Part {
        @Override
        public List<List<Linear>> groups() {
            return queryUp == null
                    ? List.of(List.of(latentUp))
                    : List.of(List.of(queryUp), List.of(latentUp));
        }

        @Override
        public Optional<KvCache> cache() {
            return Optional.of(cache);
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            Tensor attended = f.allocate(tokens, spec.outWidth());
            return spec.leaves()
                    ? List.of(attended, f.allocate(tokens, spec.indexer().width()))
                    : List.of(attended);
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor queries = in.kept().get(0);
            Tensor narrow = in.kept().get(1);
            if (queryUp != null) {
                queries = times(f, normed(f, queryNorm, queries), spec.queries().factor());
                f.tap().before(List.of(queryUp), queries);
            }
            Tensor latents = columns(f, narrow, 0, spec.latents().rank());
            latents = times(f, normed(f, norm, latents), spec.latents().factor());
            f.tap().before(List.of(latentUp), latents);
            if (f.observing()) {
                return;
            }
            attend(f, out.getFirst(), queries, latents, narrow, chosen(f, out, in, queries));
        }
    }

    @Override
    public List<Left> leaves() {
        return spec.leaves() ? List.of(new Left(1, spec.indexer().column())) : List.of();
    }

    /// Numbers of keys; null for all.
    private Tensor chosen(Forward f, List<Tensor> out, Body.Reading in, Tensor queries) {
        if (spec.indexer() == null) {
            return null;
        }
        if (indexer == null) {
            Tensor left = f.columns(in.row(), spec.indexer().column(), spec.indexer().width());
            Tensor chosen = f.allocate(left.rows(), left.cols());
            f.run(new ForwardOp.Scale(chosen, left, 1 / RowSpec.SMALL));
            return chosen;
        }
        Tensor chosen = indexer.allocate(f, queries.rows());
        indexer.choose(f, chosen, in.normed(f), queries);
        if (spec.leaves()) {
            f.run(new ForwardOp.Scale(out.get(1), chosen, RowSpec.SMALL));
        }
        return chosen;
    }

    /// @param chosen null for all keys
    private void attend(
            Forward f,
            Tensor attended,
            Tensor queries,
            Tensor latents,
            Tensor narrow,
            Tensor chosen) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        Tensor query = queryUp == null ? queries : through(f, queryUp, queries);
        RopeSpec rope = spec.turns() == null ? null : spec.turns().queries();
        query = turned(f, query, rope, sizes.dim());
        // A head's key and value a row.
        long heads = query.rows() * sizes.count();
        Tensor both = through(f, latentUp, latents);
        both = both.reshape(heads, both.shape().size() / heads);
        Tensor key = key(f, columns(f, both, 0, sizes.still()), narrow);
        Tensor value = columns(f, both, sizes.still(), sizes.valueDim());
        key = key.reshape(query.rows(), spec.queryWidth());
        value = value.reshape(query.rows(), spec.outWidth());
        f.tap().cached(cache, key, value);
        key = cache.keys(f, key);
        value = cache.values(f, value);
        int length = f.positions().length();
        var all =
                new AttentionSpec.Heads(
                        sizes.count(), sizes.count(), sizes.dim(), sizes.valueDim());
        if (chosen != null) {
            f.attend(
                    cache.spec(),
                    new SparseOp.ChosenAttention(
                            attended,
                            query,
                            new SparseOp.Keys.Whole(key, length),
                            new SparseOp.Keys.Whole(value, length),
                            chosen,
                            all,
                            spec.scale()));
            return;
        }
        var reach = new AttentionSpec.Reach(length, length, 0, 0);
        f.attend(
                cache.spec(),
                new ForwardOp.Attention(
                        attended,
                        query,
                        key,
                        value,
                        null,
                        null,
                        new AttentionSpec(all, reach, spec.scale(), 0)));
    }

    /// Every head's own part of its key, and behind it the one that turns, which all share.
    ///
    /// @param still `[tokens * heads, still]`
    private Tensor key(Forward f, Tensor still, Tensor narrow) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        if (sizes.turning() == 0) {
            return still;
        }
        Tensor turning = columns(f, narrow, spec.latents().rank(), sizes.turning());
        RopeSpec rope = spec.turns() == null ? null : spec.turns().keys();
        turning = turned(f, turning, rope, sizes.turning());
        Tensor ofAll = f.allocate(still.rows(), sizes.turning());
        f.run(new ForwardOp.GatherRows(ofAll, turning, tokens(f, still.rows())));
        Tensor key = f.allocate(still.rows(), sizes.dim());
        f.run(new ForwardOp.PutColumns(key, still, 0));
        f.run(new ForwardOp.PutColumns(key, ofAll, sizes.still()));
        return key;
    }

    /// The token of each head's row.
    private Tensor tokens(Forward f, long rows) {
        Tensor tokens = f.arena().allocate(DType.I32, new Shape(rows));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment numbers = host.allocate(4 * rows, 4);
            for (int r = 0; r < rows; r++) {
                numbers.setAtIndex(ValueLayout.JAVA_INT, r, r / spec.heads());
            }
            f.backend().upload(tokens, numbers);
        }
        return tokens;
    }

    private static Tensor through(Forward f, Linear layer, Tensor x) {
        Tensor y = f.allocate(x.rows(), layer.weight().outFeatures());
        layer.forward(f, y, x);
        return y;
    }

    private static Tensor normed(Forward f, Norm norm, Tensor x) {
        Tensor y = f.allocate(x.rows(), x.cols());
        norm.forward(f, y, x);
        return y;
    }

    private static Tensor times(Forward f, Tensor x, float factor) {
        if (factor == 1) {
            return x;
        }
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Scale(y, x, factor));
        return y;
    }

    private static Tensor columns(Forward f, Tensor x, int from, int count) {
        Tensor y = f.allocate(x.rows(), count);
        f.run(new ForwardOp.Columns(y, x, from));
        return y;
    }

    /// @param rope null for none
    private static Tensor turned(Forward f, Tensor x, RopeSpec rope, int dim) {
        if (rope == null) {
            return x;
        }
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
