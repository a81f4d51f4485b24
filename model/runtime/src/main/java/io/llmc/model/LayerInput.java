// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import java.util.List;

/// What a block reads of the token itself: `project(activation(gate(x)) * p)`.
record LayerInput(LayerInputSpec spec, Linear gate, Linear project) implements Body {
    @Override
    public List<Part> parts() {
        return List.of(new Choose(), new OutputPart(project));
    }

    private final class Choose implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(gate));
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.width()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor x = in.normed(f);
            f.tap().before(List.of(gate), x);
            if (!f.observing()) {
                Tensor chosen = f.allocate(x.rows(), spec.width());
                gate.forward(f, chosen, x);
                Tensor given = f.columns(in.row(), spec.from(), spec.width());
                f.run(new ForwardOp.Gated(out.getFirst(), chosen, given, spec.activation()));
            }
        }
    }
}
