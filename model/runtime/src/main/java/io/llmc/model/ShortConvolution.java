// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.List;

/// A short convolution of a block: `output(c * convolution(b * x))`.
record ShortConvolution(
        ShortConvolutionSpec spec, Linear input, Convolution convolution, Linear output)
        implements Body {

    @Override
    public List<Part> parts() {
        return List.of(new InputPart(input, spec.channels(), this::mix), new OutputPart(output));
    }

    private void mix(Forward f, Tensor mixed, Tensor normed) {
        Tensor gate = f.allocate(mixed.rows(), mixed.cols());
        Tensor gated = f.allocate(mixed.rows(), mixed.cols());
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            Tensor all = inner.allocate(mixed.rows(), 3 * mixed.cols());
            input.forward(inner, all, normed);
            Tensor b = inner.allocate(mixed.rows(), mixed.cols());
            Tensor x = inner.allocate(mixed.rows(), mixed.cols());
            f.run(new ForwardOp.Columns(b, all, 0));
            f.run(new ForwardOp.Columns(gate, all, mixed.cols()));
            f.run(new ForwardOp.Columns(x, all, 2 * mixed.cols()));
            f.run(new ForwardOp.Multiply(gated, b, x));
        }
        f.run(new ForwardOp.Multiply(mixed, gate, convolution.forward(f, gated)));
    }
}
