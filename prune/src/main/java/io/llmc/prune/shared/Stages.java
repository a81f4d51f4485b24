// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.shared;

import io.llmc.model.Stage;
import io.llmc.pipeline.pass.BlockScope;

/// Ways through a block's stages.
public final class Stages {
    private Stages() {}

    /// Moves the calibration sequences to the stage with this linear layer.
    public static Stage reach(BlockScope scope, String linear) {
        for (Stage stage : scope.stages()) {
            if (stage.linears().stream().anyMatch(l -> l.name().equals(linear))) {
                return stage;
            }
            scope.advance(stage);
        }
        throw new IllegalStateException("the block has no layer " + linear);
    }
}
