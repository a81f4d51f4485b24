// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/// Mamba of a block.
///
/// @param selection makes dt, b and c
/// @param norms of these; empty for none
record SelectiveScan(
        SelectiveScanSpec spec,
        Linear input,
        Convolution convolution,
        Linear selection,
        Linear steps,
        List<Norm> norms,
        Tensor rate,
        Tensor skip,
        Linear output)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new InputPart(input, spec.channels(), this::mix), new OutputPart(output));
    }

    private void mix(Forward f, Tensor result, Tensor normed) {
        Tensor gate = f.allocate(result.rows(), result.cols());
        Tensor scanned = f.allocate(result.rows(), result.cols());
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor both = inner.allocate(normed.rows(), 2L * spec.channels());
            input.forward(inner, both, normed);
            f.run(new ForwardOp.Columns(gate, both, spec.channels()));
            scan(inner, scanned, convolved(inner, inner.columns(both, 0, spec.channels())));
        }
        f.run(new ForwardOp.Gated(result, gate, scanned, Activation.SILU));
    }

    private Tensor convolved(Forward f, Tensor x) {
        Tensor active = f.allocate(x.rows(), x.cols());
        f.run(new ForwardOp.Activate(active, convolution.forward(f, x), Activation.SILU));
        return active;
    }

    private void scan(Forward f, Tensor out, Tensor x) {
        List<Tensor> selected = selected(f, x);
        Tensor dt = f.allocate(x.rows(), x.cols());
        steps.forward(f, dt, selected.get(0));
        var op =
                new RecurrentOp.SelectiveScan(
                        out, x, dt, selected.get(1), selected.get(2), rate, skip, List.of());
        f.recur(spec.scanned(), op, x.rows());
    }

    /// dt, b and c.
    private List<Tensor> selected(Forward f, Tensor x) {
        Tensor all = f.allocate(x.rows(), selection.weight().outFeatures());
        selection.forward(f, all, x);
        List<Tensor> parts = new ArrayList<>();
        int from = 0;
        for (int width : spec.widths()) {
            Tensor part = f.columns(all, from, width);
            if (!norms.isEmpty()) {
                Tensor normed = f.allocate(part.rows(), width);
                norms.get(parts.size()).forward(f, normed, part);
                part = normed;
            }
            parts.add(part);
            from += width;
        }
        return parts;
    }
}
