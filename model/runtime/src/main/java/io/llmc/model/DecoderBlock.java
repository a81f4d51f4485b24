// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.Stage.Activations;
import io.llmc.tensor.Tensor;
import java.util.Collections;
import java.util.List;
import java.util.SequencedMap;

/// One decoder block with its weights: stages in order.
public final class DecoderBlock {
    private final LayerSpec spec;
    private final List<List<Stage>> branches;
    private final List<Stage> stages;
    private final SequencedMap<String, Tensor> parameters;

    /// @param streams null where there is one
    DecoderBlock(
            LayerSpec spec,
            List<Branch> branches,
            ManyStreams streams,
            SequencedMap<String, Tensor> parameters) {
        this.spec = spec;
        this.branches = branches.stream().map(Branch::stages).toList();
        this.stages =
                streams == null
                        ? this.branches.stream().flatMap(List::stream).toList()
                        : List.copyOf(streams.around(spec.branches(), this.branches));
        this.parameters = parameters;
    }

    /// Everything that is no weight of [#linears], by its name in the checkpoint: norms, biases,
    /// routers.
    public SequencedMap<String, Tensor> parameters() {
        return Collections.unmodifiableSequencedMap(parameters);
    }

    public LayerSpec spec() {
        return spec;
    }

    /// The stages of each branch.
    public List<List<Stage>> branches() {
        return branches;
    }

    /// Those of all branches, in the order in which they run.
    public List<Stage> stages() {
        return stages;
    }

    /// Every linear layer that may be compressed, in the order in which they run.
    public List<Linear> linears() {
        return stages.stream().flatMap(stage -> stage.linears().stream()).toList();
    }

    /// The residual stream after the block, allocated in the pass's arena.
    public Tensor forward(Forward f, Tensor x) {
        Activations a = Activations.of(x);
        for (Stage stage : stages) {
            a = stage.run(f, a);
        }
        return a.x();
    }
}
