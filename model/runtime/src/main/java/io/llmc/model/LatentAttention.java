// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.CacheSpec;
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
        Tensor turning = sizes.turning() == 0 ? null : turning(f, narrow);
        AbsorbedAttention.Kept kept = cached(f, new AbsorbedAttention.Kept(latents, turning));
        if (f.past() == null) {
            whole(f, attended, query, kept, chosen);
        } else if (chosen == null && f.past().leastLength() >= spec.expandedFrom()) {
            expanded(f, attended, query, kept);
        } else {
            new AbsorbedAttention(spec, latentUp).run(f, attended, query, kept, chosen);
        }
    }

    /// As a cache would hold it.
    private AbsorbedAttention.Kept cached(Forward f, AbsorbedAttention.Kept kept) {
        Tensor together = kept.together(f);
        f.tap().cached(cache, together, kept.latents());
        return cache.scheme() == null
                ? kept
                : AbsorbedAttention.Kept.of(f, cache.keys(f, together), spec);
    }

    /// Among the pass's tokens.
    private void whole(
            Forward f, Tensor attended, Tensor query, AbsorbedAttention.Kept kept, Tensor chosen) {
        KeysAndValues made = made(f, kept);
        int length = f.positions().length();
        if (chosen == null) {
            var reach = new AttentionSpec.Reach(length, length, 0, 0);
            f.run(attention(attended, query, made, reach));
            return;
        }
        f.run(
                new SparseOp.ChosenAttention(
                        attended,
                        query,
                        new SparseOp.Keys.Whole(made.keys(), length),
                        new SparseOp.Keys.Whole(made.values(), length),
                        chosen,
                        heads(),
                        spec.scale()));
    }

    /// Among all that are kept, whose keys and values are made once more: for many tokens at a time
    /// that is less work than comparing the latents themselves.
    private void expanded(Forward f, Tensor attended, Tensor query, AbsorbedAttention.Kept kept) {
        CacheSpec of = cache.spec();
        var rounded =
                new AbsorbedAttention.Kept(latentUp.rounded(f, kept.latents()), kept.turning());
        f.past().keep(f, of.keys(true), rounded.together(f));
        f.past().keep(f, of.values(), rounded.latents());
        for (Past.Part part : f.past().parts()) {
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor all = inner.allocate(part.keys(), spec.latentWidth());
                f.past().recall(inner, of.keys(true), part, all);
                int end = part.row() + part.length();
                f.run(
                        attention(
                                attended.rows(part.row(), end),
                                query.rows(part.row(), end),
                                made(inner, AbsorbedAttention.Kept.of(inner, all, spec)),
                                new AttentionSpec.Reach(part.length(), part.keys(), 0, 0)));
            }
        }
    }

    private AttentionSpec.Heads heads() {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        return new AttentionSpec.Heads(sizes.count(), sizes.count(), sizes.dim(), sizes.valueDim());
    }

    private ForwardOp.Attention attention(
            Tensor attended, Tensor query, KeysAndValues made, AttentionSpec.Reach reach) {
        return new ForwardOp.Attention(
                attended,
                query,
                made.keys(),
                made.values(),
                null,
                null,
                new AttentionSpec(heads(), reach, spec.scale(), 0));
    }

    /// @param keys `[tokens, heads * dim]`
    /// @param values `[tokens, heads * valueDim]`
    private record KeysAndValues(Tensor keys, Tensor values) {}

    private KeysAndValues made(Forward f, AbsorbedAttention.Kept kept) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        long tokens = kept.latents().rows();
        // A head's key and value a row.
        long heads = tokens * sizes.count();
        Tensor both = through(f, latentUp, kept.latents());
        both = both.reshape(heads, both.shape().size() / heads);
        Tensor key = key(f, columns(f, both, 0, sizes.still()), kept.turning());
        Tensor value = columns(f, both, sizes.still(), sizes.valueDim());
        return new KeysAndValues(
                key.reshape(tokens, spec.queryWidth()), value.reshape(tokens, spec.outWidth()));
    }

    /// The part of the keys that all heads share.
    private Tensor turning(Forward f, Tensor narrow) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        Tensor turning = columns(f, narrow, spec.latents().rank(), sizes.turning());
        RopeSpec rope = spec.turns() == null ? null : spec.turns().keys();
        return turned(f, turning, rope, sizes.turning());
    }

    /// Every head's own part of its key, and behind it the one that turns, which all share.
    ///
    /// @param still `[tokens * heads, still]`
    /// @param turning null for none
    private Tensor key(Forward f, Tensor still, Tensor turning) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        if (turning == null) {
            return still;
        }
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
