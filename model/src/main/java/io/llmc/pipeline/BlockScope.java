// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.tensor.DType;
import java.util.List;

/// Everything a pass may touch while it works on one block.
public interface BlockScope {
    int index();

    List<Stage> stages();

    /// Whether the pass's targets select this layer.
    boolean selected(Linear layer);

    void run(Op op);

    Backend backend();

    /// Lives until the block has been written; replaced weights go here.
    TensorArena arena();

    /// Element type of scales in the output, and the smallest zero point that it can hold.
    DType scaleDtype();

    int minZero();

    /// Shows the inputs of a stage's layers for every calibration sequence, in order, chunk by
    /// chunk. The stages before it must have been advanced.
    void observe(Stage stage, Tap tap);

    /// Moves every calibration sequence through the stage with the weights it has now.
    void advance(Stage stage);

    /// Keeps what was found about one layer.
    void report(ModuleReport report);
}
