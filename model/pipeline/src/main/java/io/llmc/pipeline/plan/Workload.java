// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// What a served model is asked.
///
/// @param context tokens of a request
/// @param batches requests that decode at once
public record Workload(long context, List<Integer> batches) {
    /// Between two depths that are shown.
    private static final int STEP = 4;

    private static final long SHORTEST = 64;

    public Workload {
        batches = List.copyOf(batches);
    }

    /// @throws UserException where requests are longer than the model's positions
    public void within(ModelSpec spec, Path model) {
        if (context > spec.maxPositions()) {
            throw new UserException(
                    "requests of %,d tokens are longer than the %,d positions of %s"
                            .formatted(context, spec.maxPositions(), model),
                    "lower {plan.context}");
        }
    }

    /// How many tokens are before the one that is decoded: up to the length of a request.
    public List<Long> depths() {
        List<Long> depths = new ArrayList<>();
        for (long depth = context; depth >= SHORTEST; depth /= STEP) {
            depths.addFirst(depth);
        }
        if (depths.isEmpty() || depths.getFirst() > 0) {
            depths.addFirst(0L);
        }
        return depths;
    }
}
