// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Span;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Optional;

/// Self-attention of a block: `output(attend(project(n)))`.
///
/// @param projections q, k and v, or one fused layer
/// @param queryNorm null for none; `keyNorm` too
/// @param cache how keys and values are kept
public record Attention(
        SelfAttentionSpec spec,
        List<Linear> projections,
        Norm queryNorm,
        Norm keyNorm,
        KvCache cache,
        Linear output)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new Attend(), new Output());
    }

    private final class Attend implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(projections);
        }

        @Override
        public Optional<KvCache> cache() {
            return Optional.of(cache);
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.queryWidth()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            if (f.observing()) {
                f.tap().before(projections, in.normed(f));
                return;
            }
            Tensor attended = out.getFirst();
            Tensor q = f.allocate(attended.rows(), spec.queryWidth());
            Tensor k = f.allocate(attended.rows(), spec.keyWidth());
            Tensor v = f.allocate(attended.rows(), spec.keyWidth());
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor normed = in.normed(inner);
                f.tap().before(projections, normed);
                project(inner, q, k, v, normed);
            }
            Tensor query = turned(f, q, queryNorm);
            Tensor key = turned(f, k, keyNorm);
            f.tap().cached(cache, key, v);
            Tensor keys = cache.keys(f, key);
            Tensor values = cache.values(f, v);
            AttentionSpec over = spec(f.positions().length());
            f.attend(
                    cache.spec(),
                    new ForwardOp.Attention(attended, query, keys, values, null, null, over));
        }
    }

    private AttentionSpec spec(int length) {
        return new AttentionSpec(
                new AttentionSpec.Heads(
                        spec.heads(), spec.kvHeads(), spec.headDim(), spec.headDim()),
                new AttentionSpec.Reach(length, length, spec.scores().window(), 0),
                spec.scores().scale(),
                spec.scores().softcap());
    }

    private void project(Forward f, Tensor q, Tensor k, Tensor v, Tensor normed) {
        if (projections.size() == 3) {
            projections.get(0).forward(f, q, normed);
            projections.get(1).forward(f, k, normed);
            projections.get(2).forward(f, v, normed);
            return;
        }
        Tensor all = f.allocate(normed.rows(), q.cols() + k.cols() + v.cols());
        projections.getFirst().forward(f, all, normed);
        take(f, q, all, spec.queries());
        take(f, k, all, spec.keys());
        take(f, v, all, spec.values());
    }

    /// The columns of some heads.
    private static void take(Forward f, Tensor out, Tensor all, Span heads) {
        if (heads.run() * heads.width() == heads.period()) {
            f.run(new ForwardOp.Columns(out, all, heads.from()));
            return;
        }
        // With a run a row, as [tokens * runs, period], one copy takes a run out of every one.
        long runs = out.cols() / ((long) heads.run() * heads.width());
        long rows = out.rows() * runs;
        f.run(
                new ForwardOp.Columns(
                        out.reshape(rows, out.cols() / runs),
                        all.reshape(rows, all.cols() / runs),
                        heads.from()));
    }

    /// Queries or keys with their norm, if any, and rotation, if any.
    private Tensor turned(Forward f, Tensor x, Norm headNorm) {
        Tensor y = x;
        if (headNorm != null) {
            y = f.allocate(x.rows(), x.cols());
            headNorm.forwardHeads(f, y, x, spec.headDim());
        }
        RopeSpec rope = spec.turns();
        if (rope == null) {
            return y;
        }
        Tensor z = f.allocate(x.rows(), x.cols());
        f.run(
                new ForwardOp.Rope(
                        z,
                        y,
                        f.positions().table(rope),
                        spec.headDim(),
                        f.positions().length(),
                        rope.interleaved()));
        return z;
    }

    private final class Output implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(output));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor attended = in.kept().getFirst();
            f.tap().before(List.of(output), attended);
            if (!f.observing()) {
                output.forward(f, out.getFirst(), attended);
            }
        }
    }
}
