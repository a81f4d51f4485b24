// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Streams;
import java.util.List;
import java.util.function.UnaryOperator;

/// `project(activation(gate(x)) * p)`, where p is what the block reads of the token itself (Gemma
/// 3n): see [io.llmc.model.structure.RowSpec.LayerInputs].
///
/// @param width channels of p
/// @param from its first column in the rows between blocks
public record LayerInputSpec(
        String gate, String project, ForwardOp.Activation activation, int width, int from)
        implements BodySpec {
    private LinearSpec gate(int hidden) {
        return new LinearSpec(gate, width, hidden, false, List.of(Size.HIDDEN));
    }

    private LinearSpec project(int hidden) {
        return new LinearSpec(project, hidden, width, false, List.of(Size.HIDDEN));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        return List.of(gate(hidden), project(hidden));
    }

    /// None: the embedding has as many channels for each block.
    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of();
    }

    @Override
    public Streams streams() {
        return new Streams(List.of(gate), List.of(project));
    }

    @Override
    public long kept() {
        return width;
    }

    @Override
    public String role() {
        return "token input";
    }

    @Override
    public String summary() {
        return "%d channels of the token itself".formatted(width);
    }

    @Override
    public LayerInputSpec renamed(UnaryOperator<String> names) {
        return new LayerInputSpec(names.apply(gate), names.apply(project), activation, width, from);
    }

    @Override
    public Body build(BlockBuilder from, int hidden) {
        return new LayerInput(this, from.linear(gate(hidden)), from.linear(project(hidden)));
    }
}
