// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.Streams;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// `down(activation(gate(x)) * up(x))`, or `down(activation(up(x)))` where nothing gates.
///
/// @param inputs names of gate and up; of one layer that holds their rows in that order; or,
///   without a gate, of up alone
/// @param biased whether all of them have biases
/// @param intermediate channels between
/// @param size of config.json that counts them
/// @param share name of a layer of one output, whose sigmoid all is multiplied by (Qwen's shared
///   expert); null for none
public record MlpSpec(
        List<String> inputs,
        String down,
        boolean biased,
        int intermediate,
        Nonlinearity nonlinearity,
        boolean gated,
        Size size,
        String share)
        implements BodySpec {
    public MlpSpec(
            List<String> inputs,
            String down,
            boolean biased,
            int intermediate,
            Nonlinearity nonlinearity,
            boolean gated) {
        this(inputs, down, biased, intermediate, nonlinearity, gated, Size.INTERMEDIATE, null);
    }

    public MlpSpec(
            List<String> inputs,
            String down,
            boolean biased,
            int intermediate,
            Activation activation,
            boolean gated) {
        this(inputs, down, biased, intermediate, new Nonlinearity.Plain(activation), gated);
    }

    /// The same with channels that another size counts.
    public MlpSpec of(Size other, int channels) {
        return new MlpSpec(inputs, down, biased, channels, nonlinearity, gated, other, share);
    }

    /// The same with gate and up in one layer.
    public MlpSpec fusedAs(String name) {
        return new MlpSpec(
                List.of(name), down, biased, intermediate, nonlinearity, gated, size, share);
    }

    public MlpSpec sharedBy(String name) {
        return new MlpSpec(inputs, down, biased, intermediate, nonlinearity, gated, size, name);
    }

    public MlpSpec with(Nonlinearity other) {
        return new MlpSpec(inputs, down, biased, intermediate, other, gated, size, share);
    }

    public MlpSpec {
        if (intermediate <= 0 || intermediate > Integer.MAX_VALUE / 2) {
            throw new IllegalArgumentException("no feed-forward of this size: " + down);
        }
    }

    /// Gate and up, the one layer that holds both, or up alone.
    List<LinearSpec> inputs(int hidden) {
        long rows = fused() ? 2L * intermediate : intermediate;
        List<Size> sizes = List.of(size, Size.HIDDEN);
        return inputs.stream()
                .map(name -> new LinearSpec(name, rows, hidden, biased, sizes))
                .toList();
    }

    LinearSpec down(int hidden) {
        return new LinearSpec(down, hidden, intermediate, biased, List.of(Size.HIDDEN, size));
    }

    private boolean fused() {
        return gated && inputs.size() == 1;
    }

    /// The rows of the layer that the gate, if any, multiplies.
    private Span up() {
        return Span.of(inputs.getLast(), fused() ? intermediate : 0, 1);
    }

    /// Names of all its layers, in the order in which they run.
    List<String> names() {
        List<String> all = new ArrayList<>(inputs);
        all.add(down);
        return all;
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        List<LinearSpec> all = new ArrayList<>(inputs(hidden));
        all.add(down(hidden));
        return all;
    }

    private LinearSpec share(int hidden) {
        return new LinearSpec(share, 1, hidden, false, List.of(Size.HIDDEN));
    }

    @Override
    public List<LinearSpec> routers(int hidden) {
        return share == null ? List.of() : List.of(share(hidden));
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return nonlinearity.tensors();
    }

    @Override
    public List<PruneGroup> pruneGroups() {
        List<Span> rows = gated ? List.of(Span.of(inputs.getFirst(), 0, 1), up()) : List.of(up());
        return List.of(PruneGroup.of(size, intermediate, rows, Span.of(down, 0, 1)));
    }

    /// Without a gate an activation stands between up and down, which no factor passes.
    @Override
    public List<ScaleGroup> scaleGroups() {
        return gated
                ? List.of(new ScaleGroup(new ScaleGroup.Rows(up(), intermediate, 1), List.of(down)))
                : List.of();
    }

    @Override
    public Streams streams() {
        return new Streams(
                Stream.concat(Stream.ofNullable(share), inputs.stream()).toList(), List.of(down));
    }

    @Override
    public List<Joint> joints() {
        return List.of(new Joint(inputs, Optional.empty()));
    }

    @Override
    public long kept() {
        return intermediate;
    }

    @Override
    public String role() {
        return "feed-forward";
    }

    @Override
    public String summary() {
        return "%d channels%s".formatted(intermediate, gated ? ", gated" : "");
    }

    @Override
    public MlpSpec renamed(UnaryOperator<String> names) {
        return new MlpSpec(
                inputs.stream().map(names).toList(),
                names.apply(down),
                biased,
                intermediate,
                nonlinearity.renamed(names),
                gated,
                size,
                share == null ? null : names.apply(share));
    }

    @Override
    public Mlp build(BlockBuilder from, int hidden) {
        return new Mlp(
                this,
                from.linears(inputs(hidden)),
                from.linear(down(hidden)),
                from.tensors(innerTensors()),
                share == null ? null : from.router(share(hidden)));
    }
}
