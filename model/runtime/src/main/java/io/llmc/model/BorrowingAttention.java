// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Attention of a block to the keys and values of an earlier one.
///
/// @param norm over each head; null for none
record BorrowingAttention(BorrowingAttentionSpec spec, Linear queries, Norm norm, Linear output)
        implements Body {
    @Override
    public List<Part> parts() {
        return List.of(new Attend(), new OutputPart(output));
    }

    private final class Attend implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(queries));
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.outWidth()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor normed = in.normed(f);
            f.tap().before(List.of(queries), normed);
            if (f.observing()) {
                return;
            }
            Tensor query = f.allocate(normed.rows(), spec.queryWidth());
            queries.forward(f, query, normed);
            int values = spec.lent() + spec.keyWidth();
            f.attend(
                    spec.kept(spec.lender()),
                    new ForwardOp.Attention(
                            out.getFirst(),
                            turned(f, normed(f, query)),
                            f.columns(in.row(), spec.lent(), spec.keyWidth()),
                            f.columns(in.row(), values, spec.valueWidth()),
                            null,
                            null,
                            attention(f.positions().length())));
        }
    }

    private Tensor normed(Forward f, Tensor x) {
        if (norm == null) {
            return x;
        }
        Tensor y = f.allocate(x.rows(), x.cols());
        norm.forwardHeads(f, y, x, spec.sizes().dim());
        return y;
    }

    private Tensor turned(Forward f, Tensor x) {
        if (spec.turns() == null) {
            return x;
        }
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(
                new ForwardOp.Rope(
                        y,
                        x,
                        f.positions().table(spec.turns()),
                        spec.sizes().dim(),
                        f.positions().length(),
                        spec.turns().interleaved()));
        return y;
    }

    private AttentionSpec attention(int length) {
        SelfAttentionSpec.Heads sizes = spec.sizes();
        SelfAttentionSpec.Scores scores = spec.scores();
        return new AttentionSpec(
                new AttentionSpec.Heads(
                        sizes.queries(), sizes.keys(), sizes.dim(), sizes.valueDim()),
                new AttentionSpec.Reach(length, length, scores.window(), scores.chunk()),
                scores.scale(),
                scores.softcap());
    }
}
