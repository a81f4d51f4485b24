// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.Tensor;
import java.util.List;

/// The last part of a mixer: a linear layer that reads what the part before handed on.
record OutputPart(Linear linear) implements Body.Part {
    @Override
    public List<List<Linear>> groups() {
        return List.of(List.of(linear));
    }

    @Override
    public void run(Forward f, List<Tensor> out, Body.Reading in) {
        Tensor x = in.kept().getFirst();
        f.tap().before(List.of(linear), x);
        if (!f.observing()) {
            linear.forward(f, out.getFirst(), x);
        }
    }
}
