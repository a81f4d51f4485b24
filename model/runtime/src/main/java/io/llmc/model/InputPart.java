// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.tensor.Tensor;
import java.util.List;

/// The part of a mixer that begins with one layer, which reads the stream.
///
/// @param width of what it hands on
record InputPart(Linear linear, long width, Mixing mixing) implements Body.Part {
    /// What follows the layer, and the layer itself.
    @FunctionalInterface
    interface Mixing {
        /// @param out `[tokens, width]`
        /// @param x what the layer reads
        void run(Forward f, Tensor out, Tensor x);
    }

    @Override
    public List<List<Linear>> groups() {
        return List.of(List.of(linear));
    }

    @Override
    public List<Tensor> results(Forward f, long tokens) {
        return List.of(f.allocate(tokens, width));
    }

    @Override
    public void run(Forward f, List<Tensor> out, Body.Reading in) {
        Tensor normed = in.normed(f);
        f.tap().before(List.of(linear), normed);
        if (!f.observing()) {
            mixing.run(f, out.getFirst(), normed);
        }
    }
}
