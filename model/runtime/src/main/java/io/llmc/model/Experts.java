// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/// Mixture of experts: each token goes to the experts that the router likes best, and gets their
/// weighted sum.
///
/// Between the two parts the hidden rows stand sorted by expert, then token: `tokens * topK` rows.
///
/// @param correction of the scores that the choice is made by, `[experts]`; null for none, as
///   `scale`, `gains` and `table`
record Experts(
        ExpertsSpec spec,
        Linear router,
        Tensor correction,
        Tensor scale,
        Tensor gains,
        HashTable table,
        List<Mlp> experts)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new Expand(), new Contract());
    }

    private final class Expand implements Part {
        @Override
        public List<List<Linear>> groups() {
            return experts.stream().map(Mlp::inputs).toList();
        }

        @Override
        public boolean routed() {
            return true;
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            int width = experts.getFirst().spec().intermediate();
            return List.of(f.allocate(tokens * spec.topK(), width));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            try (Arena host = Arena.ofConfined()) {
                Tensor normed = in.normed(f);
                Routes routes = route(f, in, scored(f, in, normed), host);
                for (int e = 0; e < experts.size(); e++) {
                    if (routes.count(e) > 0) {
                        expand(f, experts.get(e), routes, e, out, normed);
                    }
                }
            }
        }

        private void expand(
                Forward f, Mlp expert, Routes routes, int e, List<Tensor> out, Tensor normed) {
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor input = routes.inputs(inner, normed, e);
                if (spec.weighsInputs()) {
                    Tensor given = input;
                    input = inner.allocate(given.rows(), given.cols());
                    inner.timesRows(input, given, routes.weights(inner, e));
                }
                f.tap().before(expert.inputs(), input);
                if (!f.observing()) {
                    Tensor mine = out.getFirst().rows(routes.from(e), routes.from(e + 1));
                    expert.expand(inner, mine, input);
                }
            }
        }
    }

    private final class Contract implements Part {
        @Override
        public List<List<Linear>> groups() {
            return experts.stream().map(e -> List.of(e.down())).toList();
        }

        @Override
        public boolean routed() {
            return true;
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor hidden = in.kept().getFirst();
            try (TensorArena scratch = f.arena().scratch();
                    Arena host = Arena.ofConfined()) {
                Forward inner = f.in(scratch);
                // The router is cheap: asked again, it gives the same answer, and nothing is kept.
                Tensor normed = in.normed(inner);
                Routes routes = route(inner, in, scored(inner, in, normed), host);
                if (!f.observing()) {
                    f.run(new ForwardOp.Zero(out.getFirst()));
                }
                for (int e = 0; e < experts.size(); e++) {
                    if (routes.count(e) > 0) {
                        contract(inner, experts.get(e), routes, e, out, hidden);
                    }
                }
                for (int e = experts.size(); e < spec.choices() && !f.observing(); e++) {
                    if (routes.count(e) > 0) {
                        pass(inner, routes, e, out.getFirst(), normed);
                    }
                }
            }
        }

        private void contract(
                Forward f, Mlp expert, Routes routes, int e, List<Tensor> out, Tensor hidden) {
            Tensor mine = hidden.rows(routes.from(e), routes.from(e + 1));
            f.tap().before(List.of(expert.down()), mine);
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor gates = routes.weights(inner, e);
                if (f.observing()) {
                    Tensor used = spec.weighsInputs() ? inner.ones(mine.rows()) : gates;
                    f.tap().routed(expert.down(), mine, used);
                    return;
                }
                Tensor sum = out.getFirst();
                Tensor y = inner.allocate(mine.rows(), sum.cols());
                expert.down().forward(inner, y, mine);
                Tensor rows = routes.rows(inner, e);
                Tensor weights = spec.weighsInputs() ? null : gates;
                f.run(new ForwardOp.AccumulateRows(sum, y, rows, weights, 1));
            }
        }

        /// An expert that gives back what it gets.
        private void pass(Forward f, Routes routes, int e, Tensor sum, Tensor normed) {
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor input = routes.inputs(inner, normed, e);
                Tensor rows = routes.rows(inner, e);
                Tensor gates = routes.weights(inner, e);
                f.run(new ForwardOp.AccumulateRows(sum, input, rows, gates, 1));
            }
        }
    }

    /// What the router reads.
    private Tensor scored(Forward f, Reading in, Tensor normed) {
        if (scale == null) {
            return normed;
        }
        Tensor x = in.stream(f);
        Tensor plain = f.allocate(x.rows(), x.cols());
        Tensor scaled = f.allocate(x.rows(), x.cols());
        Tensor read = f.allocate(x.rows(), x.cols());
        new Norm(spec.router().own().norm(), null, null).forward(f, plain, x);
        f.run(new ForwardOp.MultiplyRow(scaled, plain, scale, 0));
        f.run(new ForwardOp.Scale(read, scaled, (float) (1 / Math.sqrt(x.cols()))));
        return read;
    }

    /// @param weights `[tokens, topK]`
    private Tensor gained(Forward f, Tensor chosen, Tensor weights) {
        if (gains == null) {
            return weights;
        }
        long all = weights.shape().size();
        Tensor numbers = f.allocate(gains.shape().size(), 1);
        Tensor mine = f.allocate(all, 1);
        Tensor product = f.allocate(weights.rows(), weights.cols());
        f.run(new ForwardOp.Scale(numbers, gains.reshape(gains.shape().size(), 1), 1));
        f.run(new ForwardOp.GatherRows(mine, numbers, chosen.reshape(all)));
        Tensor factors = mine.reshape(weights.rows(), weights.cols());
        f.run(new ForwardOp.Multiply(product, weights, factors));
        return product;
    }

    /// @param read what the router reads
    private Routes route(Forward f, Reading in, Tensor read, Arena host) {
        Shape shape = new Shape(read.rows(), spec.topK());
        Tensor chosen = f.arena().allocate(DType.I32, shape);
        Tensor weights = f.arena().allocate(DType.F32, shape);
        Tensor logits = f.allocate(read.rows(), spec.choices());
        router.forward(f, logits, read);
        if (table == null) {
            f.run(new ForwardOp.Route(chosen, weights, logits, correction, spec.router().choice()));
        } else {
            table.choose(f, chosen, in.row());
            f.run(new ForwardOp.WeighExperts(weights, chosen, logits, spec.router().choice()));
        }
        MemorySegment chosenHost = host.allocate(4 * shape.size(), 8);
        f.backend().download(chosenHost, chosen);
        return Routes.sort(chosenHost, gained(f, chosen, weights), spec.choices(), host);
    }

    /// Which rows go to which expert: host lists sorted by expert, then token.
    ///
    /// @param starts `[experts + 1]`: where an expert's rows begin
    /// @param tokens of the rows
    /// @param slots of the rows in `weights`
    /// @param weights as the router gave them, `[tokens, topK]`
    private record Routes(int[] starts, MemorySegment tokens, MemorySegment slots, Tensor weights) {
        static Routes sort(MemorySegment chosen, Tensor weights, int experts, Arena host) {
            long all = weights.shape().size();
            long topK = weights.cols();
            int[] starts = new int[experts + 1];
            for (long i = 0; i < all; i++) {
                starts[chosen.getAtIndex(ValueLayout.JAVA_INT, i) + 1]++;
            }
            for (int e = 0; e < experts; e++) {
                starts[e + 1] += starts[e];
            }
            MemorySegment tokens = host.allocate(chosen.byteSize(), 8);
            MemorySegment slots = host.allocate(chosen.byteSize(), 8);
            int[] next = starts.clone();
            for (long i = 0; i < all; i++) {
                int at = next[chosen.getAtIndex(ValueLayout.JAVA_INT, i)]++;
                tokens.setAtIndex(ValueLayout.JAVA_INT, at, (int) (i / topK));
                slots.setAtIndex(ValueLayout.JAVA_INT, at, (int) i);
            }
            return new Routes(starts, tokens, slots, weights);
        }

        int from(int expert) {
            return starts[expert];
        }

        int count(int expert) {
            return starts[expert + 1] - starts[expert];
        }

        /// What an expert reads.
        Tensor inputs(Forward f, Tensor normed, int expert) {
            Tensor mine = f.allocate(count(expert), normed.cols());
            f.run(new ForwardOp.GatherRows(mine, normed, rows(f, expert)));
            return mine;
        }

        Tensor rows(Forward f, int expert) {
            return upload(f, tokens, expert);
        }

        /// By an operation, so that gradients find the way back to the router.
        Tensor weights(Forward f, int expert) {
            Tensor mine = f.allocate(count(expert), 1);
            Tensor all = weights.reshape(weights.shape().size(), 1);
            f.run(new ForwardOp.GatherRows(mine, all, upload(f, slots, expert)));
            return mine.reshape(count(expert));
        }

        private Tensor upload(Forward f, MemorySegment all, int expert) {
            Tensor t = f.arena().allocate(DType.I32, new Shape(count(expert)));
            f.backend().upload(t, all.asSlice(4L * from(expert), 4L * count(expert)));
            return t;
        }
    }
}
