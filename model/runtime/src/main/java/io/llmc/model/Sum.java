// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// A sum of bodies with its weights: one after the other, the sum so far going along before what a
/// part hands on.
record Sum(List<Term> terms) implements Body {
    /// @param pre null for none
    /// @param post null for none
    record Term(int index, Norm pre, Body body, Norm post, int hidden) {}

    @Override
    public List<Part> parts() {
        List<Part> parts = new ArrayList<>();
        for (Term term : terms) {
            List<Part> own = term.body().parts();
            for (int i = 0; i < own.size(); i++) {
                parts.add(new Member(term, own.get(i), i == own.size() - 1));
            }
        }
        return parts;
    }

    /// @param last of its term
    private record Member(Term term, Part part, boolean last) implements Part {
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

        /// Whether there is a sum already.
        private boolean adds() {
            return term.index() > 0;
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            List<Tensor> results = new ArrayList<>();
            if (adds() || last) {
                results.add(f.allocate(tokens, term.hidden()));
            }
            if (!last) {
                results.addAll(part.results(f, tokens));
            }
            return results;
        }

        /// What the part itself reads.
        private Reading own(Reading in) {
            List<Tensor> kept = in.kept();
            return new Reading(
                    term.pre(),
                    in.row(),
                    in.hidden(),
                    adds() ? kept.subList(1, kept.size()) : kept);
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            if (f.observing()) {
                part.run(f, List.of(), own(in));
                return;
            }
            if (!last) {
                part.run(f, adds() ? out.subList(1, out.size()) : out, own(in));
                if (adds()) {
                    f.run(new ForwardOp.Scale(out.getFirst(), in.kept().getFirst(), 1));
                }
                return;
            }
            Tensor y = f.allocate(in.row().rows(), in.hidden());
            part.run(f, List.of(y), own(in));
            if (term.post() != null) {
                Tensor normed = f.allocate(y.rows(), y.cols());
                term.post().forward(f, normed, y);
                y = normed;
            }
            Tensor sum = out.getFirst();
            f.run(
                    adds()
                            ? new ForwardOp.Add(sum, in.kept().getFirst(), y, 1)
                            : new ForwardOp.Scale(sum, y, 1));
        }
    }
}
