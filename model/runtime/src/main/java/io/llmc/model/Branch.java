// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// A branch of a block with its weights: `scalar * after(x + scale * post(body(pre(r))))`.
///
/// @param pre null for none
/// @param post null for none
/// @param after null for none
/// @param scalar `[1]`; null for none
/// @param hidden columns of the stream, the first ones of a row
record Branch(
        BranchSpec spec,
        Norm pre,
        Body body,
        Norm post,
        Norm after,
        Tensor scalar,
        int hidden,
        Inputs inputs) {
    /// Which inputs of branches go along with the stream.
    ///
    /// @param index of the branch
    /// @param source whose input it reads
    /// @param before those that are there while it runs
    /// @param behind those that later branches read
    record Inputs(int index, int source, List<Integer> before, List<Integer> behind) {
        /// Those of the tensors that stages keep that are inputs: the last ones.
        private List<Tensor> in(List<Tensor> kept) {
            return kept.subList(kept.size() - before.size(), kept.size());
        }

        private Tensor of(int branch, Stage.Activations a) {
            return branch == index ? a.x() : in(a.kept()).get(before.indexOf(branch));
        }
    }

    List<Stage> stages() {
        List<Body.Part> parts = body.parts();
        return IntStream.range(0, parts.size())
                .mapToObj(i -> (Stage) new Part(parts.get(i), i == parts.size() - 1))
                .toList();
    }

    private final class Part implements Stage {
        private final Body.Part part;
        private final boolean last;

        Part(Body.Part part, boolean last) {
            this.part = part;
            this.last = last;
        }

        @Override
        public List<List<Linear>> groups() {
            return part.groups();
        }

        @Override
        public boolean routed() {
            return part.routed();
        }

        @Override
        public Optional<KvCache> cache() {
            return part.cache();
        }

        @Override
        public Activations run(Forward f, Activations in) {
            // What other branches have read is no longer the stream, so it goes along behind the
            // rest.
            Tensor read = inputs.of(inputs.source(), in);
            Body.Reading reading = new Body.Reading(pre, read, hidden, in.kept());
            if (f.observing()) {
                run(f, List.of(), reading);
                return in;
            }
            if (last) {
                return new Activations(
                        add(f, in.x(), reading),
                        inputs.behind().stream().map(branch -> inputs.of(branch, in)).toList());
            }
            List<Tensor> made = part.results(f, read.rows());
            run(f, made, reading);
            return new Activations(
                    in.x(), Stream.concat(made.stream(), inputs.in(in.kept()).stream()).toList());
        }

        private void run(Forward f, List<Tensor> out, Body.Reading reading) {
            try (TensorArena scratch = f.arena().scratch()) {
                part.run(f.in(scratch), out, reading);
            }
        }

        /// The row behind the branch.
        private Tensor add(Forward f, Tensor x, Body.Reading reading) {
            Tensor row = f.allocate(x.rows(), x.cols());
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                if (x.cols() == hidden) {
                    add(inner, row, x, reading);
                    return row;
                }
                Tensor stream = inner.allocate(x.rows(), hidden);
                add(inner, stream, inner.columns(x, 0, hidden), reading);
                f.run(new ForwardOp.PutColumns(row, stream, 0));
                beside(inner, row, x, reading.kept());
            }
            return row;
        }

        /// What the body leaves to later blocks, and what was there already.
        private void beside(Forward f, Tensor row, Tensor x, List<Tensor> kept) {
            int from = hidden;
            for (int i = 0; i < body.leaves().size(); i++) {
                Body.Left left = body.leaves().get(i);
                keep(f, row, x, from, left.from());
                f.run(new ForwardOp.PutColumns(row, kept.get(left.kept()), left.from()));
                from = left.from() + Math.toIntExact(kept.get(left.kept()).cols());
            }
            keep(f, row, x, from, Math.toIntExact(x.cols()));
        }

        private static void keep(Forward f, Tensor row, Tensor x, int from, int to) {
            if (from < to) {
                f.run(new ForwardOp.PutColumns(row, f.columns(x, from, to - from), from));
            }
        }

        private Tensor carried(Forward f, Tensor x) {
            if (spec.carry() == 1) {
                return x;
            }
            Tensor less = f.allocate(x.rows(), x.cols());
            f.run(new ForwardOp.Scale(less, x, spec.carry()));
            return less;
        }

        /// @param x the stream
        private void add(Forward f, Tensor sum, Tensor x, Body.Reading reading) {
            Tensor y = f.allocate(x.rows(), x.cols());
            part.run(f, List.of(y), reading);
            if (post != null) {
                Tensor normed = f.allocate(x.rows(), x.cols());
                post.forward(f, normed, y);
                y = normed;
            }
            boolean plain = after == null && scalar == null;
            Tensor added = plain ? sum : f.allocate(x.rows(), x.cols());
            if (spec.carry() == 0) {
                f.run(new ForwardOp.Scale(added, y, spec.scale()));
            } else {
                f.run(new ForwardOp.Add(added, carried(f, x), y, spec.scale()));
            }
            if (after != null) {
                Tensor normed = scalar == null ? sum : f.allocate(x.rows(), x.cols());
                after.forward(f, normed, added);
                added = normed;
            }
            if (scalar != null) {
                f.times(sum, added, scalar);
            }
        }
    }
}
