// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// A branch of a block with its weights: `after(x + scale * post(body(pre(r))))`.
///
/// @param pre null for none
/// @param post null for none
/// @param after null for none
/// @param shares the next branch reads the same r, which this one therefore hands on
record Branch(BranchSpec spec, Norm pre, Body body, Norm post, Norm after, boolean shares) {

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
            // What a parallel branch reads is no longer the stream, so it goes along behind the
            // rest.
            Tensor read = spec.parallel() ? in.kept().getLast() : in.x();
            Body.Reading reading = new Body.Reading(pre, read, in.kept());
            if (f.observing()) {
                run(f, List.of(), reading);
                return in;
            }
            if (last) {
                return new Activations(add(f, in.x(), reading), shares ? List.of(read) : List.of());
            }
            List<Tensor> made = part.results(f, read.rows());
            run(f, made, reading);
            return new Activations(
                    in.x(),
                    spec.parallel()
                            ? Stream.concat(made.stream(), Stream.of(read)).toList()
                            : made);
        }

        private void run(Forward f, List<Tensor> out, Body.Reading reading) {
            try (TensorArena scratch = f.arena().scratch()) {
                part.run(f.in(scratch), out, reading);
            }
        }

        private Tensor add(Forward f, Tensor x, Body.Reading reading) {
            Tensor sum = f.allocate(x.rows(), x.cols());
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor y = inner.allocate(x.rows(), x.cols());
                part.run(inner, List.of(y), reading);
                if (post != null) {
                    Tensor normed = inner.allocate(x.rows(), x.cols());
                    post.forward(inner, normed, y);
                    y = normed;
                }
                Tensor added = after == null ? sum : inner.allocate(x.rows(), x.cols());
                f.run(new ForwardOp.Add(added, x, y, spec.scale()));
                if (after != null) {
                    after.forward(inner, sum, added);
                }
            }
            return sum;
        }
    }
}
