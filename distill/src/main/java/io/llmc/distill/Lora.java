// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.pipeline.Options;
import io.llmc.pipeline.Targets;
import java.util.List;

/// Low-rank adapters that are trained in the place of the weights: LoRA,
/// https://arxiv.org/abs/2106.09685.
///
/// @param rank columns of the two matrices
/// @param alpha what they add is multiplied by `alpha / rank`
/// @param targets linear layers of the blocks that get one
record Lora(int rank, double alpha, Targets targets) {
    /// Null where none is asked for.
    static Lora read(Options o) {
        int rank = o.integer("lora", 0);
        double alpha = o.decimal("loraAlpha", 2.0 * rank);
        List<String> targets = o.texts("loraTargets");
        if (rank < 0) {
            throw o.error("lora", "lora is %d, expected a rank of at least 1".formatted(rank));
        }
        return rank == 0 ? null : new Lora(rank, alpha, new Targets(targets, List.of()));
    }

    float scale() {
        return (float) (alpha / rank);
    }
}
