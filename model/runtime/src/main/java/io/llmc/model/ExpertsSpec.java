// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.RouterSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.Streams;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// Each token goes to its `topK` best experts and gets their weighted sum.
///
/// @param router name of the linear layer that scores experts
/// @param experts all of one size
/// @param choice how they are chosen and weighed
public record ExpertsSpec(String router, List<MlpSpec> experts, int topK, RouterSpec choice)
        implements BodySpec {
    public ExpertsSpec {
        if (topK < 1 || topK > experts.size()) {
            throw new IllegalArgumentException(
                    "the best %d of %d experts".formatted(topK, experts.size()));
        }
    }

    private <T> List<T> ofEach(Function<MlpSpec, List<T>> part) {
        return experts.stream().flatMap(e -> part.apply(e).stream()).toList();
    }

    private LinearSpec router(int hidden) {
        return new LinearSpec(
                router, experts.size(), hidden, false, List.of(Size.EXPERTS, Size.HIDDEN));
    }

    /// The inputs of all experts run before the first one's output.
    @Override
    public List<LinearSpec> linears(int hidden) {
        return Stream.concat(
                        experts.stream().flatMap(e -> e.inputs(hidden).stream()),
                        experts.stream().map(e -> e.down(hidden)))
                .toList();
    }

    @Override
    public List<LinearSpec> routers(int hidden) {
        return List.of(router(hidden));
    }

    /// Channels, each expert by itself, and whole experts.
    @Override
    public List<PruneGroup> pruneGroups() {
        PruneGroup whole =
                new PruneGroup(
                        Size.EXPERTS,
                        experts.size(),
                        topK,
                        List.of(Span.of(router, 0, 1)),
                        List.of(),
                        experts.stream().map(MlpSpec::names).toList());
        return Stream.concat(ofEach(MlpSpec::pruneGroups).stream(), Stream.of(whole)).toList();
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        return ofEach(MlpSpec::scaleGroups);
    }

    @Override
    public Streams streams() {
        return new Streams(
                Stream.concat(Stream.of(router), ofEach(MlpSpec::inputs).stream()).toList(),
                experts.stream().map(MlpSpec::down).toList());
    }

    @Override
    public List<Joint> joints() {
        return List.of(new Joint(ofEach(MlpSpec::names), Optional.of("all experts of a block")));
    }

    @Override
    public long kept() {
        return (long) topK * experts.getFirst().intermediate();
    }

    @Override
    public String role() {
        return experts.getFirst().role();
    }

    @Override
    public String summary() {
        return "%d experts of %d channels, %d for each token"
                .formatted(experts.size(), experts.getFirst().intermediate(), topK);
    }

    @Override
    public ExpertsSpec renamed(UnaryOperator<String> names) {
        return new ExpertsSpec(
                names.apply(router),
                experts.stream().map(e -> e.renamed(names)).toList(),
                topK,
                choice);
    }

    @Override
    public Experts build(BlockBuilder from, int hidden) {
        return new Experts(
                this,
                from.router(router(hidden)),
                experts.stream().map(e -> e.build(from, hidden)).toList());
    }
}
