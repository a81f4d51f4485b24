// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Span;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Self-attention of a block: `output(attend(project(n)))`.
///
/// @param projections as in [SelfAttentionSpec#projections(int)]
/// @param norms as in [SelfAttentionSpec#innerNorms]
/// @param sinks null for none
/// @param indexer what chooses keys; null where all are seen
/// @param cache how keys and values are kept
public record Attention(
        SelfAttentionSpec spec,
        List<Linear> projections,
        List<Norm> norms,
        Tensor sinks,
        Indexer indexer,
        KvCache cache,
        Linear output)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new Attend(), new Output());
    }

    @Override
    public List<Left> leaves() {
        int column = spec.lent();
        return column == 0
                ? List.of()
                : List.of(new Left(1, column), new Left(2, column + spec.keyWidth()));
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
            Tensor attended = f.allocate(tokens, spec.outWidth());
            return spec.lent() == 0
                    ? List.of(attended)
                    : List.of(
                            attended,
                            f.allocate(tokens, spec.keyWidth()),
                            f.allocate(tokens, spec.valueWidth()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            if (f.observing()) {
                f.tap().before(projections, in.normed(f));
                return;
            }
            Tensor result = out.getFirst();
            Projected p = Projected.allocate(f, spec, result.rows());
            Tensor chosen = indexer == null ? null : indexer.allocate(f, result.rows());
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor normed = in.normed(inner);
                f.tap().before(projections, normed);
                project(inner, p, normed);
                if (indexer != null) {
                    indexer.choose(inner, chosen, normed, normed);
                }
            }
            if (spec.gate() == null) {
                attend(f, result, p, chosen, out.subList(1, out.size()));
            } else {
                Tensor attended = f.allocate(result.rows(), result.cols());
                attend(f, attended, p, chosen, out.subList(1, out.size()));
                f.run(
                        new ForwardOp.Gated(
                                result, p.gates(), attended, ForwardOp.Activation.SIGMOID));
            }
        }
    }

    /// What the projections give.
    ///
    /// @param gates null for none
    private record Projected(Tensor q, Tensor k, Tensor v, Tensor gates) {
        static Projected allocate(Forward f, SelfAttentionSpec spec, long rows) {
            Tensor k = f.allocate(rows, spec.keyWidth());
            return new Projected(
                    f.allocate(rows, spec.queryWidth()),
                    k,
                    spec.valuesAreKeys() ? k : f.allocate(rows, spec.valueWidth()),
                    spec.gate() == null ? null : f.allocate(rows, spec.outWidth()));
        }
    }

    /// @param chosen numbers of keys; null for all
    /// @param lent where keys and values go for later blocks; empty for nowhere
    private void attend(Forward f, Tensor attended, Projected p, Tensor chosen, List<Tensor> lent) {
        Tensor query = clipped(f, p.q());
        Tensor key = clipped(f, p.k());
        Tensor value = values(f, p);
        if (spec.norms() == null) {
            query = turned(f, query, spec.turns() == null ? null : spec.turns().queries());
            key = turned(f, key, spec.turns() == null ? null : spec.turns().keys());
        } else if (spec.norms().afterTurns()) {
            query = normed(f, turned(f, query, spec.turns().queries()), 0);
            key = normed(f, turned(f, key, spec.turns().keys()), 1);
        } else {
            query = normed(f, query, 0);
            key = normed(f, key, 1);
            query = turned(f, query, spec.turns() == null ? null : spec.turns().queries());
            key = turned(f, key, spec.turns() == null ? null : spec.turns().keys());
        }
        if (spec.scores().alibi() == Alibi.FALCON) {
            query = widened(f, query, spec.heads(), Alibi.ones(spec.heads()));
            key = widened(f, key, spec.kvHeads(), null);
        }
        f.tap().cached(cache, key, value);
        key = cache.keys(f, key);
        value = cache.values(f, value);
        if (!lent.isEmpty()) {
            f.run(new ForwardOp.Scale(lent.get(0), key, 1));
            f.run(new ForwardOp.Scale(lent.get(1), value, 1));
        }
        int length = f.positions().length();
        SelfAttentionSpec.Scores scores = spec.scores();
        var heads =
                new AttentionSpec.Heads(
                        spec.heads(), spec.kvHeads(), spec.scoredDim(), spec.valueDim());
        if (chosen != null) {
            f.attend(
                    cache.spec(),
                    new SparseOp.ChosenAttention(
                            attended,
                            query,
                            new SparseOp.Keys.Whole(key, length),
                            new SparseOp.Keys.Whole(value, length),
                            chosen,
                            heads,
                            scores.scale()));
            return;
        }
        var reach = new AttentionSpec.Reach(length, length, scores.window(), scores.chunk());
        f.attend(
                cache.spec(),
                new ForwardOp.Attention(
                        attended,
                        query,
                        key,
                        value,
                        wide(f, sinks),
                        slopes(f),
                        new AttentionSpec(heads, reach, scores.scale(), scores.softcap())));
    }

    /// In F32; null for null.
    private static Tensor wide(Forward f, Tensor x) {
        if (x == null || x.dtype() == DType.F32) {
            return x;
        }
        Tensor y = f.arena().allocate(DType.F32, x.shape());
        f.run(new ForwardOp.Scale(y, x, 1));
        return y;
    }

    /// Null for none.
    private Tensor slopes(Forward f) {
        if (spec.scores().alibi() == null || spec.scores().alibi() == Alibi.FALCON) {
            return null;
        }
        Tensor slopes = f.arena().allocate(DType.F32, new Shape(spec.heads()));
        try (Arena host = Arena.ofConfined()) {
            float[] values = spec.scores().alibi().slopes(spec.heads());
            MemorySegment copy = host.allocateFrom(ValueLayout.JAVA_FLOAT, values);
            f.backend().upload(slopes, copy);
        }
        return slopes;
    }

    /// Each head with a channel more: 1 for a query, what its head adds at its position for a key.
    /// Rounded products of slopes and positions are no multiple of a distance, so that they go with
    /// the keys.
    ///
    /// @param constant of each head; null for keys
    private Tensor widened(Forward f, Tensor x, int heads, float[] constant) {
        int dim = spec.headDim();
        Tensor column = f.allocate(x.rows(), heads);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(column.byteSize(), 4);
            for (int r = 0; r < x.rows(); r++) {
                float[] row =
                        constant != null
                                ? constant
                                : Alibi.FALCON.added(heads, f.positions().of(r));
                MemorySegment.copy(row, 0, values, ValueLayout.JAVA_FLOAT, 4L * r * heads, heads);
            }
            f.backend().upload(column, values);
        }
        Tensor wide = f.allocate(x.rows() * heads, dim + 1L);
        f.run(new ForwardOp.PutColumns(wide, x.reshape(x.rows() * heads, dim), 0));
        f.run(new ForwardOp.PutColumns(wide, column.reshape(x.rows() * heads, 1), dim));
        return wide.reshape(x.rows(), heads * (dim + 1L));
    }

    private void project(Forward f, Projected p, Tensor normed) {
        if (spec.fused()) {
            long columns = p.q().cols() + p.k().cols() + p.v().cols();
            Tensor all = f.allocate(normed.rows(), columns);
            projections.getFirst().forward(f, all, normed);
            take(f, p.q(), all, spec.queries());
            take(f, p.k(), all, spec.keys());
            take(f, p.v(), all, spec.values());
            if (spec.gate() != null && !spec.gatedByQueries()) {
                projections.getLast().forward(f, p.gates(), normed);
            }
            return;
        }
        Tensor queries =
                spec.gatedByQueries()
                        ? f.allocate(normed.rows(), p.q().cols() + p.gates().cols())
                        : p.q();
        List<Tensor> outs = new ArrayList<>(List.of(queries, p.k()));
        if (!spec.valuesAreKeys()) {
            outs.add(p.v());
        }
        if (spec.gate() != null && !spec.gatedByQueries()) {
            outs.add(p.gates());
        }
        Linear.forward(f, projections, outs, normed);
        if (spec.gatedByQueries()) {
            take(f, p.q(), queries, spec.queries());
            take(f, p.gates(), queries, spec.gates());
        }
    }

    /// The columns of some heads.
    static void take(Forward f, Tensor out, Tensor all, Span heads) {
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

    private Tensor clipped(Forward f, Tensor x) {
        float most = spec.qkv().clip();
        if (most == 0) {
            return x;
        }
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Clip(y, x, most));
        return y;
    }

    private Tensor values(Forward f, Projected p) {
        Tensor v = clipped(f, p.v());
        if (spec.qkv().valueScale() != 1) {
            Tensor y = f.allocate(v.rows(), v.cols());
            f.run(new ForwardOp.Scale(y, v, spec.qkv().valueScale()));
            v = y;
        }
        return spec.norms() == null || spec.norms().values() == null ? v : normed(f, v, 2);
    }

    /// @param which 0 for queries, 1 for keys, 2 for values
    private Tensor normed(Forward f, Tensor x, int which) {
        Norm norm = norms.get(which);
        Tensor y = f.allocate(x.rows(), x.cols());
        switch (spec.norms().over()) {
            case HEAD -> norm.forwardHeads(f, y, x, which == 2 ? spec.valueDim() : spec.headDim());
            case PROJECTION -> norm.forward(f, y, x);
            case EACH_HEAD -> {
                Tensor plain = f.allocate(x.rows(), x.cols());
                new Norm(norm.spec().plain(), null, null).forwardHeads(f, plain, x, spec.headDim());
                f.run(
                        new ForwardOp.MultiplyRow(
                                y, plain, norm.weight().reshape(x.cols()), norm.spec().offset()));
            }
        }
        return y;
    }

    /// @param rope null for none
    private Tensor turned(Forward f, Tensor x, RopeSpec rope) {
        if (rope == null) {
            return x;
        }
        Tensor z = f.allocate(x.rows(), x.cols());
        f.run(
                new ForwardOp.Rope(
                        z,
                        x,
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
