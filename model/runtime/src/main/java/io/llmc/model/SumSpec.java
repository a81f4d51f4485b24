// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.MixGroup;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Streams;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// The sum of what several bodies make of the same stream, each between norms of its own, so that
/// one norm may come behind it: `post_1(body_1(pre_1(x))) + post_2(body_2(pre_2(x)))`.
///
/// @param terms which only have norms before and after
/// @param hidden width of the stream
public record SumSpec(List<BranchSpec> terms, int hidden) implements BodySpec {
    public SumSpec {
        boolean plain =
                terms.stream()
                        .allMatch(t ->
                                t.after() == null
                                        && t.scalar() == null
                                        && t.scale() == 1
                                        && !t.parallel());
        if (terms.size() < 2 || !plain) {
            throw new IllegalArgumentException("a sum is of bodies between two norms");
        }
    }

    private <T> List<T> ofEach(Function<BodySpec, List<T>> part) {
        return terms.stream().flatMap(t -> part.apply(t.body()).stream()).toList();
    }

    @Override
    public List<LinearSpec> linears(int width) {
        return ofEach(body -> body.linears(width));
    }

    @Override
    public List<LinearSpec> routers(int width) {
        return ofEach(body -> body.routers(width));
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return ofEach(BodySpec::innerNorms);
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return ofEach(BodySpec::innerTensors);
    }

    @Override
    public List<PruneGroup> pruneGroups() {
        return ofEach(BodySpec::pruneGroups);
    }

    @Override
    public Optional<String> fixed(Size size) {
        return terms.stream().flatMap(t -> t.body().fixed(size).stream()).findFirst();
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        return terms.stream().flatMap(t -> t.scaleGroups().stream()).toList();
    }

    @Override
    public List<MixGroup> mixGroups() {
        return ofEach(BodySpec::mixGroups);
    }

    @Override
    public Streams streams() {
        return new Streams(
                ofEach(body -> body.streams().readers()), ofEach(body -> body.streams().writers()));
    }

    @Override
    public List<Joint> joints() {
        return ofEach(BodySpec::joints);
    }

    @Override
    public long kept() {
        return hidden + terms.stream().mapToLong(t -> t.body().kept()).max().orElse(0);
    }

    @Override
    public List<RopeSpec> ropes() {
        return ofEach(BodySpec::ropes);
    }

    @Override
    public String role() {
        return terms.getFirst().body().role();
    }

    @Override
    public String summary() {
        return terms.stream().map(t -> t.body().summary()).collect(Collectors.joining(" beside "));
    }

    @Override
    public SumSpec renamed(UnaryOperator<String> names) {
        return new SumSpec(terms.stream().map(t -> t.renamed(names)).toList(), hidden);
    }

    @Override
    public Body build(BlockBuilder from, int width) {
        return new Sum(
                IntStream.range(0, terms.size())
                        .mapToObj(i -> {
                            BranchSpec t = terms.get(i);
                            return new Sum.Term(
                                    i,
                                    from.norm(t.pre(), width),
                                    t.body().build(from, width),
                                    from.norm(t.post(), width),
                                    width);
                        })
                        .toList());
    }

    /// A branch, and those that it is the sum of.
    static Stream<BranchSpec> terms(BranchSpec branch) {
        return branch.body() instanceof SumSpec sum
                ? Stream.concat(Stream.of(branch), sum.terms().stream())
                : Stream.of(branch);
    }

    /// The bodies that a body is made of.
    static Stream<BodySpec> apart(BodySpec body) {
        return body instanceof SumSpec sum
                ? sum.terms().stream().map(BranchSpec::body)
                : Stream.of(body);
    }
}
