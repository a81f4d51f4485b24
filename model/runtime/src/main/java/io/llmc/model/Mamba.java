// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/// Mamba-2 of a block.
///
/// @param convolutions of x, b and c
/// @param norm null for none
record Mamba(
        MambaSpec spec,
        Linear input,
        List<Convolution> convolutions,
        Tensor rate,
        Tensor skip,
        Tensor bias,
        Norm norm,
        Linear output)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(
                new InputPart(input, spec.heads().valueWidth(), this::mix), new OutputPart(output));
    }

    private void mix(Forward f, Tensor result, Tensor normed) {
        List<Tensor> parts = project(f, normed);
        Tensor mixed = f.allocate(result.rows(), result.cols());
        try (TensorArena scratch = f.arena().scratch()) {
            scan(f.in(scratch), mixed, parts);
        }
        Tensor gated = norm == null ? result : f.allocate(result.rows(), result.cols());
        f.run(new ForwardOp.Gated(gated, parts.getFirst(), mixed, Activation.SILU));
        if (norm != null) {
            normalise(f, result, gated);
        }
    }

    /// z, x, b, c and dt.
    private List<Tensor> project(Forward f, Tensor normed) {
        List<Tensor> parts = new ArrayList<>();
        spec.widths().forEach(width -> parts.add(f.allocate(normed.rows(), width)));
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor all = inner.allocate(normed.rows(), input.weight().outFeatures());
            input.forward(inner, all, normed);
            long from = 0;
            for (int i = 0; i < parts.size(); i++) {
                Tensor part = parts.get(i);
                float factor = spec.factors().get(i);
                Tensor plain = factor == 1 ? part : inner.allocate(part.rows(), part.cols());
                f.run(new ForwardOp.Columns(plain, all, from));
                if (factor != 1) {
                    f.run(new ForwardOp.Scale(part, plain, factor));
                }
                from += part.cols();
            }
        }
        return parts;
    }

    private void scan(Forward f, Tensor mixed, List<Tensor> parts) {
        List<Tensor> active = new ArrayList<>();
        for (int i = 0; i < convolutions.size(); i++) {
            Tensor x = convolutions.get(i).forward(f, parts.get(1 + i));
            Tensor y = f.allocate(x.rows(), x.cols());
            f.run(new ForwardOp.Activate(y, x, Activation.SILU));
            active.add(y);
        }
        var steps =
                new RecurrentOp.Steps(
                        parts.getLast(), rate, bias, spec.scan().least(), spec.scan().most());
        var op =
                new RecurrentOp.StateSpace(
                        mixed,
                        active.get(2),
                        active.get(1),
                        active.get(0),
                        steps,
                        skip,
                        spec.heads(),
                        List.of());
        f.recur(spec.state(), op, mixed.rows());
    }

    private void normalise(Forward f, Tensor out, Tensor x) {
        int groups = spec.heads().keys();
        if (groups == 1) {
            norm.forward(f, out, x);
            return;
        }
        Tensor plain = f.allocate(x.rows(), x.cols());
        new Norm(norm.spec().plain(), null, null)
                .forwardHeads(f, plain, x, spec.heads().valueWidth() / groups);
        f.run(new ForwardOp.MultiplyRow(out, plain, norm.weight(), norm.spec().offset()));
    }
}
