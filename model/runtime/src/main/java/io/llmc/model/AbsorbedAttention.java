// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.CacheSpec;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Latent attention to what a cache keeps of earlier tokens: the latents. Keys and values are not
/// made of them; what makes a head's keys is applied to its queries, and what makes its values to
/// what they have attended to (DeepSeek V2, 2024, arXiv 2405.04434). These are the products of
/// [LatentAttention] in another order.
///
/// @param latentUp what makes, by head, `[still key, value]` of a latent
record AbsorbedAttention(LatentAttentionSpec spec, Linear latentUp) {
    /// What is kept of the pass's tokens.
    ///
    /// @param latents `[tokens, rank]`
    /// @param turning `[tokens, turning]`, which keys share; null for none
    record Kept(Tensor latents, Tensor turning) {
        /// @param together as [#together] gives them
        static Kept of(Forward f, Tensor together, LatentAttentionSpec spec) {
            int rank = spec.latents().rank();
            int turning = spec.sizes().turning();
            return new Kept(
                    f.columns(together, 0, rank),
                    turning == 0 ? null : f.columns(together, rank, turning));
        }

        /// `[tokens, rank + turning]`
        Tensor together(Forward f) {
            if (turning == null) {
                return latents;
            }
            Tensor both = f.allocate(latents.rows(), latents.cols() + turning.cols());
            f.run(new ForwardOp.PutColumns(both, latents, 0));
            f.run(new ForwardOp.PutColumns(both, turning, latents.cols()));
            return both;
        }
    }

    /// @param attended `[tokens, heads * valueDim]`
    /// @param query `[tokens, heads * dim]`, turned
    /// @param chosen numbers of keys; null for all
    void run(Forward f, Tensor attended, Tensor query, Kept kept, Tensor chosen) {
        Tensor latents = latentUp.rounded(f, kept.latents());
        Tensor asked = asked(f, query);
        Tensor found = f.allocate(query.rows(), (long) spec.heads() * spec.latents().rank());
        attend(f, found, asked, new Kept(latents, kept.turning()), chosen);
        values(f, attended, found);
    }

    /// Queries for latents: `[tokens, heads * (rank + turning)]`.
    private Tensor asked(Forward f, Tensor query) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        int rank = spec.latents().rank();
        int width = spec.latentWidth();
        Tensor asked = f.allocate(query.rows(), (long) sizes.count() * width);
        for (int h = 0; h < sizes.count(); h++) {
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Rows keys = Rows.of(latentUp.weight(), first(h), sizes.still());
                Tensor still = inner.columns(query, h * sizes.dim(), sizes.still());
                Tensor back = inner.allocate(query.rows(), rank);
                f.run(new ForwardOp.Zero(back));
                f.run(
                        new GradientOp.AccumulateMatmulInput(
                                back, keys.spread(inner, still), keys.of));
                f.run(new ForwardOp.PutColumns(asked, back, (long) h * width));
            }
        }
        if (sizes.turning() > 0) {
            long all = query.rows() * sizes.count();
            Tensor turning =
                    f.columns(query.reshape(all, sizes.dim()), sizes.still(), sizes.turning());
            f.run(new ForwardOp.PutColumns(asked.reshape(all, width), turning, rank));
        }
        return asked;
    }

    private void attend(Forward f, Tensor found, Tensor asked, Kept kept, Tensor chosen) {
        Tensor keys = kept.together(f);
        CacheSpec cache = spec.cache().orElseThrow();
        int length = f.positions().length();
        var heads =
                new AttentionSpec.Heads(spec.heads(), 1, spec.latentWidth(), spec.latents().rank());
        if (chosen != null) {
            f.attend(
                    cache,
                    new SparseOp.ChosenAttention(
                            found,
                            asked,
                            new SparseOp.Keys.Whole(keys, length),
                            new SparseOp.Keys.Whole(kept.latents(), length),
                            chosen,
                            heads,
                            spec.scale()));
            return;
        }
        var reach = new AttentionSpec.Reach(length, length, 0, 0);
        f.attend(
                cache,
                new ForwardOp.Attention(
                        found,
                        asked,
                        keys,
                        kept.latents(),
                        null,
                        null,
                        new AttentionSpec(heads, reach, spec.scale(), 0)));
    }

    private void values(Forward f, Tensor attended, Tensor found) {
        LatentAttentionSpec.Heads sizes = spec.sizes();
        int rank = spec.latents().rank();
        for (int h = 0; h < sizes.count(); h++) {
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Rows values =
                        Rows.of(latentUp.weight(), first(h) + sizes.still(), sizes.valueDim());
                Tensor own = inner.columns(found, h * rank, rank);
                Tensor made = inner.allocate(found.rows(), values.of.outFeatures());
                f.run(new ForwardOp.Matmul(made, own, values.of));
                Tensor value = inner.columns(made, values.from, sizes.valueDim());
                f.run(new ForwardOp.PutColumns(attended, value, (long) h * sizes.valueDim()));
            }
        }
    }

    /// The first row of a head.
    private long first(int head) {
        return (long) head * (spec.sizes().still() + spec.sizes().valueDim());
    }

    /// Rows of a weight, with those around them that they share scales with.
    ///
    /// @param from the first that is wanted
    private record Rows(Weight of, int from) {
        static Rows of(Weight all, long first, int count) {
            long together = all.together();
            long begin = first / together * together;
            long end = Math.ceilDiv(first + count, together) * together;
            return new Rows(
                    all.rows(begin, Math.min(end, all.outFeatures())),
                    Math.toIntExact(first - begin));
        }

        /// Zeros for the others.
        ///
        /// @param x `[tokens, count]`
        Tensor spread(Forward f, Tensor x) {
            if (x.cols() == of.outFeatures()) {
                return x;
            }
            Tensor y = f.allocate(x.rows(), of.outFeatures());
            f.run(new ForwardOp.Zero(y));
            f.run(new ForwardOp.PutColumns(y, x, from));
            return y;
        }
    }
}
