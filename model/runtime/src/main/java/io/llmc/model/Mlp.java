// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Feed-forward of a block: `x + post(down(activation(gate(n)) * up(n)))` with `n = norm(x)`.
///
/// @param inputs gate and up; one fused layer; or, ungated, up alone
/// @param postNorm null for none
record Mlp(LayerSpec.Mlp spec, Norm norm, List<Linear> inputs, Linear down, Norm postNorm) {

    List<Stage> stages() {
        return List.of(new Expand(), new Contract());
    }

    private final class Expand implements Stage {
        @Override
        public List<List<Linear>> groups() {
            return List.of(inputs);
        }

        @Override
        public Activations run(Forward f, Activations in) {
            Tensor x = in.x();
            Tensor hidden = f.observing() ? null : f.allocate(x.rows(), spec.intermediate());
            try (TensorArena scratch = f.arena().scratch()) {
                Forward inner = f.in(scratch);
                Tensor normed = inner.allocate(x.rows(), x.cols());
                norm.forward(inner, normed, x);
                f.tap().before(inputs, normed);
                if (f.observing()) {
                    return in;
                }
                expand(inner, spec, inputs, hidden, normed);
            }
            return new Activations(x, List.of(hidden));
        }
    }

    private final class Contract implements Stage {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(down));
        }

        @Override
        public Activations run(Forward f, Activations in) {
            Tensor hidden = in.kept().getFirst();
            f.tap().before(linears(), hidden);
            if (f.observing()) {
                return in;
            }
            return Activations.of(
                    Residual.add(f, in.x(), postNorm, (g, y) -> down.forward(g, y, hidden)));
        }
    }

    /// `hidden = activation(gate(x)) * up(x)`, or `activation(up(x))`; an expert's first half too.
    static void expand(
            Forward f, LayerSpec.Mlp spec, List<Linear> inputs, Tensor hidden, Tensor x) {
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor gate = inner.allocate(x.rows(), spec.intermediate());
            if (!spec.gated()) {
                inputs.getFirst().forward(inner, gate, x);
                f.run(new ForwardOp.Activate(hidden, gate, spec.activation()));
                return;
            }
            Tensor up = inner.allocate(x.rows(), spec.intermediate());
            if (inputs.size() == 2) {
                inputs.get(0).forward(inner, gate, x);
                inputs.get(1).forward(inner, up, x);
            } else {
                Tensor both = inner.allocate(x.rows(), 2L * spec.intermediate());
                inputs.getFirst().forward(inner, both, x);
                f.run(new ForwardOp.Columns(gate, both, 0));
                f.run(new ForwardOp.Columns(up, both, spec.intermediate()));
            }
            f.run(new ForwardOp.Gated(hidden, gate, up, spec.activation()));
        }
    }
}
