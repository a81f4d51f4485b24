// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.Optional;

/// A stage without layers, which moves numbers between the streams of a row.
///
/// @param columns of all streams, the one that branches read among them
record StreamStage(int columns, Step step) implements Stage {
    /// What it does.
    @FunctionalInterface
    interface Step {
        /// @param out whose streams it writes
        void run(Forward f, Tensor out, Tensor row);
    }

    @Override
    public List<List<Linear>> groups() {
        return List.of();
    }

    @Override
    public boolean routed() {
        return false;
    }

    @Override
    public Optional<KvCache> cache() {
        return Optional.empty();
    }

    @Override
    public Activations run(Forward f, Activations in) {
        if (f.observing()) {
            return in;
        }
        Tensor row = in.x();
        Tensor out = f.allocate(row.rows(), row.cols());
        try (TensorArena scratch = f.arena().scratch()) {
            Forward inner = f.in(scratch);
            step.run(inner, out, row);
            int rest = Math.toIntExact(row.cols()) - columns;
            if (rest > 0) {
                Tensor beside = inner.columns(row, columns, rest);
                f.run(new ForwardOp.PutColumns(out, beside, columns));
            }
        }
        return Activations.of(out);
    }
}
