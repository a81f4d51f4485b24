// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Self-attention of a block: `x + post(output(attend(project(norm(x)))))`.
///
/// @param projections q, k and v, or one fused layer
/// @param postNorm, queryNorm and keyNorm null for none
record Attention(
        LayerSpec.AttentionLayer spec,
        Norm norm,
        List<Linear> projections,
        Norm queryNorm,
        Norm keyNorm,
        Linear output,
        Norm postNorm) {

    List<Stage> stages() {
        return List.of(new Project(), new Output());
    }

    private final class Project implements Stage {
        @Override
        public List<List<Linear>> groups() {
            return List.of(projections);
        }

        @Override
        public Activations run(Forward f, Activations in) {
            Tensor x = in.x();
            if (f.observing()) {
                try (TensorArena scratch = f.arena().scratch()) {
                    Tensor normed = f.in(scratch).allocate(x.rows(), x.cols());
                    norm.forward(f, normed, x);
                    f.tap().before(projections, normed);
                }
                return in;
            }
            Tensor attended = f.allocate(x.rows(), spec.queryWidth());
            try (TensorArena scratch = f.arena().scratch()) {
                attend(f.in(scratch), attended, x);
            }
            return new Activations(x, List.of(attended));
        }
    }

    private void attend(Forward f, Tensor attended, Tensor x) {
        Tensor q = f.allocate(x.rows(), spec.queryWidth());
        Tensor k = f.allocate(x.rows(), spec.keyWidth());
        Tensor v = f.allocate(x.rows(), spec.keyWidth());
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor normed = inner.allocate(x.rows(), x.cols());
            norm.forward(f, normed, x);
            f.tap().before(projections, normed);
            project(inner, q, k, v, normed);
        }
        Tensor query = turned(f, q, queryNorm);
        Tensor key = turned(f, k, keyNorm);
        f.run(
                new ForwardOp.Attention(
                        attended,
                        query,
                        key,
                        v,
                        new ForwardOp.AttentionSpec(
                                f.positions().length(),
                                spec.heads(),
                                spec.kvHeads(),
                                spec.headDim(),
                                spec.scale(),
                                spec.window(),
                                spec.softcap())));
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
        f.run(new ForwardOp.Columns(q, all, 0));
        f.run(new ForwardOp.Columns(k, all, q.cols()));
        f.run(new ForwardOp.Columns(v, all, q.cols() + k.cols()));
    }

    /// Queries or keys with their norm, if any, and rotation, if any.
    private Tensor turned(Forward f, Tensor x, Norm headNorm) {
        Tensor y = x;
        if (headNorm != null) {
            y = f.allocate(x.rows(), x.cols());
            headNorm.forwardHeads(f, y, x, spec.headDim());
        }
        RopeSpec rope = spec.rope();
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

    private final class Output implements Stage {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(output));
        }

        @Override
        public Activations run(Forward f, Activations in) {
            Tensor attended = in.kept().getFirst();
            f.tap().before(linears(), attended);
            if (f.observing()) {
                return in;
            }
            return Activations.of(
                    Residual.add(f, in.x(), postNorm, (g, y) -> output.forward(g, y, attended)));
        }
    }
}
