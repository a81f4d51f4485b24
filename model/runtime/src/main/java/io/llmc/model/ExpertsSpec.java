// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.backend.RouterSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// Each token goes to its `topK` best experts and gets their weighted sum.
///
/// @param experts all of one size
/// @param identities experts behind these that give back what they get, and have no weights
/// @param weighsInputs a weight multiplies what its expert reads, not what it gives (Llama 4)
public record ExpertsSpec(
        Router router, List<MlpSpec> experts, int topK, int identities, boolean weighsInputs)
        implements BodySpec {
    /// What sends tokens to experts.
    ///
    /// @param name of the linear layer that makes logits
    /// @param biased whether it has a bias
    /// @param correction what is added to scores for the choice; null for none
    /// @param choice how experts are chosen and weighed
    /// @param own what it reads; null for what experts read
    /// @param gains name of a tensor `[experts]` that weights are multiplied by; null for none
    /// @param table what chooses in the place of scores, which weigh; null for none
    public record Router(
            String name,
            boolean biased,
            Correction correction,
            RouterSpec choice,
            Own own,
            String gains,
            Table table) {
        /// @param tensor its name
        /// @param rows 1 for `[1, experts]`, 0 for `[experts]`
        public record Correction(String tensor, int rows) {
            Shape shape(long experts) {
                return rows == 0 ? new Shape(experts) : new Shape(rows, experts);
            }
        }

        /// The experts of each token of the vocabulary (hash layers: Roller et al., 2021, arXiv
        /// 2106.04426, as DeepSeek V4 has them).
        ///
        /// @param tensor its name, I64 `[vocabulary, topK]`
        /// @param topK experts of a token
        /// @param column of the rows between blocks where a token's number stands
        public record Table(String tensor, int vocabulary, int topK, int column) {
            Shape shape() {
                return new Shape(vocabulary, topK);
            }
        }

        /// The stream itself, with a norm without weights, times a tensor over the root of its
        /// length (Gemma 4).
        ///
        /// @param scale name of the tensor
        public record Own(float eps, String scale, int hidden) {
            NormSpec norm() {
                return NormSpec.rms(scale, eps).plain();
            }
        }

        public static Router of(String name, RouterSpec choice) {
            return new Router(name, false, null, choice, null, null, null);
        }

        public Router withBias() {
            return new Router(name, true, correction, choice, own, gains, table);
        }

        /// @param tensor `[experts]`
        public Router correctedBy(String tensor) {
            return corrected(new Correction(tensor, 0));
        }

        /// @param tensor `[1, experts]`
        public Router correctedByRow(String tensor) {
            return corrected(new Correction(tensor, 1));
        }

        private Router corrected(Correction by) {
            return new Router(name, biased, by, choice, own, gains, table);
        }

        /// The same where a table chooses.
        public Router choosingBy(Table other) {
            return new Router(name, biased, correction, choice, own, gains, other);
        }

        private Router renamed(UnaryOperator<String> names) {
            return new Router(
                    names.apply(name),
                    biased,
                    correction == null
                            ? null
                            : new Correction(names.apply(correction.tensor()), correction.rows()),
                    choice,
                    own == null ? null : new Own(own.eps(), names.apply(own.scale()), own.hidden()),
                    gains == null ? null : names.apply(gains),
                    table == null
                            ? null
                            : new Table(
                                    names.apply(table.tensor()),
                                    table.vocabulary(),
                                    table.topK(),
                                    table.column()));
        }

        public Router reading(Own other) {
            return new Router(name, biased, correction, choice, other, gains, table);
        }

        /// @param tensor `[experts]`
        public Router multipliedBy(String tensor) {
            return new Router(name, biased, correction, choice, own, tensor, table);
        }

        private List<InnerTensor> tensors(int choices) {
            List<InnerTensor> all = new ArrayList<>();
            if (correction != null) {
                all.add(
                        new InnerTensor(
                                correction.tensor(),
                                correction.shape(choices),
                                List.of(Size.EXPERTS)));
            }
            if (own != null) {
                all.add(
                        new InnerTensor(
                                own.scale(), new Shape(own.hidden()), List.of(Size.HIDDEN)));
            }
            if (gains != null) {
                all.add(new InnerTensor(gains, new Shape(choices), List.of(Size.EXPERTS)));
            }
            if (table != null) {
                all.add(new InnerTensor(table.tensor(), table.shape(), List.of(), DType.I64));
            }
            return all;
        }
    }

    public ExpertsSpec {
        if (topK < 1 || !router.choice().gives(topK, experts.size() + identities)) {
            throw new IllegalArgumentException(
                    "the best %d of %d experts, by %s"
                            .formatted(topK, experts.size() + identities, router.choice()));
        }
    }

    public ExpertsSpec(Router router, List<MlpSpec> experts, int topK) {
        this(router, experts, topK, 0, false);
    }

    public ExpertsSpec withIdentities(int count) {
        return new ExpertsSpec(router, experts, topK, count, weighsInputs);
    }

    public ExpertsSpec weighingInputs() {
        return new ExpertsSpec(router, experts, topK, identities, true);
    }

    private <T> List<T> ofEach(Function<MlpSpec, List<T>> part) {
        return experts.stream().flatMap(e -> part.apply(e).stream()).toList();
    }

    /// Experts that can be chosen.
    int choices() {
        return experts.size() + identities;
    }

    private LinearSpec router(int hidden) {
        List<Size> sizes = List.of(Size.EXPERTS, Size.HIDDEN);
        return new LinearSpec(router.name(), choices(), hidden, router.biased(), sizes);
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
    public boolean routed() {
        return true;
    }

    @Override
    public List<LinearSpec> routers(int hidden) {
        return List.of(router(hidden));
    }

    @Override
    public List<InnerTensor> innerTensors() {
        List<InnerTensor> own = router.tensors(choices());
        return Stream.concat(own.stream(), ofEach(MlpSpec::innerTensors).stream()).toList();
    }

    /// Channels, each expert by itself, and whole experts, where all of them are in one group.
    @Override
    public List<PruneGroup> pruneGroups() {
        PruneGroup whole =
                new PruneGroup(
                        Size.EXPERTS,
                        experts.size(),
                        topK,
                        List.of(Span.of(router.name(), 0, 1)),
                        List.of(),
                        experts.stream().map(MlpSpec::names).toList());
        return Stream.concat(
                        ofEach(MlpSpec::pruneGroups).stream(),
                        fixed(Size.EXPERTS).isEmpty() ? Stream.of(whole) : Stream.of())
                .toList();
    }

    @Override
    public Optional<String> fixed(Size size) {
        if (size != Size.EXPERTS) {
            return Optional.empty();
        }
        if (router.table() != null) {
            return Optional.of("some of its layers have a table of the experts of each token");
        }
        if (router.choice().groups() != null) {
            return Optional.of("its routers choose among groups of equally many experts");
        }
        if (router.gains() != null) {
            return Optional.of("its routers weigh each expert by a number of its own");
        }
        return identities > 0
                ? Optional.of("numbers behind its experts give back what they read")
                : Optional.empty();
    }

    @Override
    public List<Class<? extends Op>> special() {
        return router.table() == null ? List.of() : List.of(ForwardOp.WeighExperts.class);
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        return ofEach(MlpSpec::scaleGroups);
    }

    @Override
    public Streams streams() {
        return new Streams(
                Stream.concat(
                                router.own() == null ? Stream.of(router.name()) : Stream.of(),
                                ofEach(MlpSpec::inputs).stream())
                        .toList(),
                experts.stream().map(MlpSpec::down).toList());
    }

    @Override
    public boolean passesInput() {
        return identities > 0;
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
                router.renamed(names),
                experts.stream().map(e -> e.renamed(names)).toList(),
                topK,
                identities,
                weighsInputs);
    }

    @Override
    public Experts build(BlockBuilder from, int hidden) {
        Tensor correction =
                router.correction() == null
                        ? null
                        : from.parameter(
                                        router.correction().tensor(),
                                        router.correction().shape(choices()).dims())
                                .reshape(choices());
        return new Experts(
                this,
                from.router(router(hidden)),
                correction,
                router.own() == null
                        ? null
                        : from.parameter(router.own().scale(), router.own().hidden()),
                router.gains() == null ? null : from.parameter(router.gains(), choices()),
                router.table() == null ? null : HashTable.of(router.table(), choices(), from),
                experts.stream().map(e -> e.build(from, hidden)).toList());
    }
}
