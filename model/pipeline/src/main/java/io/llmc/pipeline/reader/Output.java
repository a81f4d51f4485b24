// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.reader;

import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Scheme;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// What is about to be written, as its readers see it.
///
/// @param source the model before it was changed
/// @param model the model that is written
/// @param layout by its name
/// @param schemes of layers that are written packed
/// @param indexed those whose inputs are assigned to groups one by one
/// @param parts processes that a reader spreads every layer over
public record Output(
        ModelSpec source,
        ModelSpec model,
        String layout,
        Map<String, Scheme> schemes,
        Set<String> indexed,
        int parts) {

    /// In one piece.
    public Output(
            ModelSpec source,
            ModelSpec model,
            String layout,
            Map<String, Scheme> schemes,
            Set<String> indexed) {
        this(source, model, layout, schemes, indexed, 1);
    }

    /// A layer as one process holds it (Shoeybi et al., 2019, arXiv 1909.08053, section 3): of
    /// those that read the residual stream some rows, of those that write to it some columns.
    ///
    /// @param scheme null where it is plain
    /// @param whole the layer with all rows and columns
    record Part(
            LinearSpec whole, Scheme scheme, boolean indexed, boolean expert, long out, long in) {
        String name() {
            return whole.name();
        }
    }

    /// Of every layer of the blocks.
    List<Part> all() {
        List<Part> all = new ArrayList<>();
        for (LayerSpec layer : model.layers()) {
            for (BodySpec body : layer.bodies().toList()) {
                boolean experts = body.routed();
                for (LinearSpec linear : body.linears(model.hidden())) {
                    boolean rows = body.streams().readers().contains(linear.name());
                    all.add(
                            new Part(
                                    linear,
                                    schemes.get(linear.name()),
                                    indexed.contains(linear.name()),
                                    experts,
                                    rows ? rows(layer, body, linear) : linear.out(),
                                    rows ? linear.in() : linear.in() / parts));
                }
            }
        }
        return all;
    }

    /// Every process has one KV head at least.
    private long rows(LayerSpec layer, BodySpec body, LinearSpec linear) {
        int kvHeads = layer.count(Size.KV_HEADS);
        if (linear.sizes().getFirst() != Size.KV_HEADS || kvHeads == 0 || kvHeads >= parts) {
            return linear.out() / parts;
        }
        if (body.streams().readers().size() > 1) {
            return linear.out() / kvHeads;
        }
        int heads = layer.count(Size.HEADS); // one layer makes queries, keys and values
        return linear.out() / (heads + 2L * kvHeads) * (heads / parts + 2L);
    }

    /// Those that are packed.
    List<Part> packed() {
        return all().stream().filter(part -> part.scheme != null).toList();
    }

    Output spread(int otherParts) {
        return new Output(source, model, layout, schemes, indexed, otherParts);
    }
}
