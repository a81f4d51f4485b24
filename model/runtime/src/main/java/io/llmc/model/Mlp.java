// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.List;

/// Feed-forward of a block: `down(activation(gate(n)) * up(n))`.
///
/// @param inputs gate and up; one fused layer; or, ungated, up alone
/// @param numbers of the nonlinearity, where it has some
/// @param share null for none
record Mlp(MlpSpec spec, List<Linear> inputs, Linear down, List<Tensor> numbers, Linear share)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new Expand(), new Contract());
    }

    private final class Expand implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(inputs);
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.intermediate()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor normed = in.normed(f);
            f.tap().before(inputs, normed);
            if (!f.observing()) {
                expand(f, out.getFirst(), normed);
            }
        }
    }

    private final class Contract implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(down));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor hidden = in.kept().getFirst();
            f.tap().before(List.of(down), hidden);
            if (!f.observing()) {
                contract(f, out.getFirst(), hidden, in);
            }
        }
    }

    private void contract(Forward f, Tensor out, Tensor hidden, Reading in) {
        if (share == null) {
            down.forward(f, out, hidden);
            return;
        }
        Tensor y = f.allocate(out.rows(), out.cols());
        down.forward(f, y, hidden);
        Tensor logit = f.allocate(out.rows(), 1);
        share.forward(f, logit, in.normed(f));
        Tensor part = f.allocate(out.rows(), 1);
        f.run(new ForwardOp.Activate(part, logit, ForwardOp.Activation.SIGMOID));
        f.timesRows(out, y, part.reshape(out.rows()));
    }

    /// `hidden = activation(gate(x)) * up(x)`, or `activation(up(x))`; an expert's first half too.
    void expand(Forward f, Tensor hidden, Tensor x) {
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor gate = inner.allocate(x.rows(), spec.intermediate());
            if (!spec.gated()) {
                inputs.getFirst().forward(inner, gate, x);
                f.run(activated(hidden, gate));
                return;
            }
            Tensor up = inner.allocate(x.rows(), spec.intermediate());
            if (inputs.size() == 2) {
                Linear.forward(inner, inputs, List.of(gate, up), x);
            } else {
                Tensor both = inner.allocate(x.rows(), 2L * spec.intermediate());
                inputs.getFirst().forward(inner, both, x);
                f.run(new ForwardOp.Columns(gate, both, 0));
                f.run(new ForwardOp.Columns(up, both, spec.intermediate()));
            }
            f.run(gated(hidden, sparse(inner, gate), up));
        }
    }

    /// `max(0, gate - mean - deviations * standard deviation)` over the channels of a token, where
    /// the nonlinearity asks for it.
    private Tensor sparse(Forward f, Tensor gate) {
        if (!(spec.nonlinearity() instanceof Nonlinearity.Sparse(_, float deviations))) {
            return gate;
        }
        Tensor centered = minus(f, gate, AltUpEnds.mean(f, gate), 1);
        Tensor above = minus(f, centered, AltUpEnds.size(f, centered), deviations);
        Tensor left = f.allocate(gate.rows(), gate.cols());
        f.run(new ForwardOp.Activate(left, above, ForwardOp.Activation.RELU));
        return left;
    }

    /// @param number of each row
    private static Tensor minus(Forward f, Tensor x, Tensor number, float factor) {
        Tensor column = f.ones(x.cols()).reshape(x.cols(), 1);
        Tensor all = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Matmul(all, number, new Weight.Dense(column)));
        Tensor y = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Add(y, x, all, -factor));
        return y;
    }

    private ForwardOp activated(Tensor hidden, Tensor x) {
        return switch (spec.nonlinearity()) {
            case Nonlinearity.Plain(var activation) ->
                    new ForwardOp.Activate(hidden, x, activation);
            case Nonlinearity.Xielu _ ->
                    new ForwardOp.Xielu(
                            hidden,
                            x,
                            new ForwardOp.Curve(
                                    numbers.get(0),
                                    numbers.get(1),
                                    numbers.get(2),
                                    numbers.get(3)));
            case Nonlinearity.ClampedSwiGlu _, Nonlinearity.Sparse _ ->
                    throw new IllegalStateException("there is no gate");
        };
    }

    private ForwardOp gated(Tensor hidden, Tensor gate, Tensor up) {
        return switch (spec.nonlinearity()) {
            case Nonlinearity.Plain(var activation) ->
                    new ForwardOp.Gated(hidden, gate, up, activation);
            case Nonlinearity.Sparse(var activation, _) ->
                    new ForwardOp.Gated(hidden, gate, up, activation);
            case Nonlinearity.ClampedSwiGlu(var clamp) ->
                    new ForwardOp.ClampedSwiGlu(hidden, gate, up, clamp);
            case Nonlinearity.Xielu _ -> throw new IllegalStateException("xIELU has no gate");
        };
    }
}
