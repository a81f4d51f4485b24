// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.Op;
import io.llmc.backend.RecurrentOp;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.StateSpec;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// The gated delta rule between convolutions and a gate: `output(activation(z) * norm(rule(q, k,
/// v)))`, where q, k and v have gone through their convolutions and SiLU (Qwen3-Next, Kimi Linear).
///
/// @param inputs what makes all that the rule reads
/// @param convolutions of q, k and v, each `.weight`; or one of the channels of all, in this order
/// @param decay how fast states fade
/// @param norm over each head of what the rule gives
/// @param gate of z
public record DeltaNetSpec(
        Inputs inputs,
        List<ConvolutionSpec> convolutions,
        Decay decay,
        NormSpec norm,
        Activation gate,
        String output,
        RecurrentOp.Heads heads)
        implements BodySpec {

    /// Where the rows lie that make each of them: parts of q and k are key heads, all others value
    /// heads.
    ///
    /// @param z what gates the output
    /// @param beta how much of a value is written
    /// @param decay of a state, for each head or each channel of its keys
    public record Inputs(Span q, Span k, Span v, Through z, Span beta, Through decay) {
        /// Qwen3.5: one layer for q, k, v, one for each of the others.
        ///
        /// @param p what names begin with
        public static Inputs apart(String p, RecurrentOp.Heads h) {
            String qkv = p + "in_proj_qkv";
            return new Inputs(
                    Span.of(qkv, 0, h.keyDim()),
                    Span.of(qkv, h.keyWidth(), h.keyDim()),
                    Span.of(qkv, 2 * h.keyWidth(), h.valueDim()),
                    new Through(Span.of(p + "in_proj_z", 0, h.valueDim()), null, 0),
                    Span.of(p + "in_proj_b", 0, 1),
                    new Through(Span.of(p + "in_proj_a", 0, 1), null, 0));
        }

        /// Qwen3-Next: two layers, in which all of a key head and its value heads lie together.
        public static Inputs byKeyHead(String p, RecurrentOp.Heads h) {
            String qkvz = p + "in_proj_qkvz";
            String ba = p + "in_proj_ba";
            int shared = h.values() / h.keys();
            int keys = 2 * h.keyDim();
            int values = shared * h.valueDim();
            int period = keys + 2 * values;
            return new Inputs(
                    new Span(qkvz, 0, h.keyDim(), 1, period),
                    new Span(qkvz, h.keyDim(), h.keyDim(), 1, period),
                    new Span(qkvz, keys, h.valueDim(), shared, period),
                    new Through(
                            new Span(qkvz, keys + values, h.valueDim(), shared, period), null, 0),
                    new Span(ba, 0, 1, shared, 2 * shared),
                    new Through(new Span(ba, shared, 1, shared, 2 * shared), null, 0));
        }

        /// Kimi Linear: a layer for each, and two for what differs by channel.
        ///
        /// @param rank of the latter
        public static Inputs lowRank(String p, RecurrentOp.Heads h, int rank) {
            return new Inputs(
                    Span.of(p + "q_proj", 0, h.keyDim()),
                    Span.of(p + "k_proj", 0, h.keyDim()),
                    Span.of(p + "v_proj", 0, h.valueDim()),
                    new Through(Span.of(p + "g_b_proj", 0, h.valueDim()), p + "g_a_proj", rank),
                    Span.of(p + "b_proj", 0, 1),
                    new Through(Span.of(p + "f_b_proj", 0, h.keyDim()), p + "f_a_proj", rank));
        }

        Inputs renamed(UnaryOperator<String> names) {
            return new Inputs(
                    q.renamed(names),
                    k.renamed(names),
                    v.renamed(names),
                    z.renamed(names),
                    beta.renamed(names),
                    decay.renamed(names));
        }
    }

    /// Rows of a layer that may read another one's outputs instead of the stream.
    ///
    /// @param narrow name of that other layer; null for none
    /// @param rank its outputs
    public record Through(Span rows, String narrow, int rank) {
        Through renamed(UnaryOperator<String> names) {
            return new Through(
                    rows.renamed(names), narrow == null ? null : names.apply(narrow), rank);
        }
    }

    /// @param rate name of a tensor with a number for each value head
    /// @param rateShape its shape in the files
    /// @param bias name of a tensor with a number for each decay
    /// @param bound least logarithm of what is kept; 0 for none
    public record Decay(String rate, Shape rateShape, String bias, float bound) {}

    public DeltaNetSpec with(Decay other) {
        return new DeltaNetSpec(inputs, convolutions, other, norm, gate, output, heads);
    }

    /// Channels of q, k and v.
    List<Integer> widths() {
        return List.of(heads.keyWidth(), heads.keyWidth(), heads.valueWidth());
    }

    int decays() {
        return heads.values() * inputs.decay().rows().width();
    }

    private boolean joint() {
        return inputs.q().linear().equals(inputs.v().linear());
    }

    /// Those that may be compressed, without the output.
    List<LinearSpec> projections(int hidden) {
        Stream<Span> spans = Stream.of(inputs.q(), inputs.k(), inputs.v());
        if (inputs.z().narrow() == null) {
            spans = Stream.concat(spans, Stream.of(inputs.z().rows()));
        }
        return spans.map(Span::linear).distinct().map(name -> linear(name, hidden)).toList();
    }

    /// Small, and what states keep depends on them.
    @Override
    public List<LinearSpec> routers(int hidden) {
        List<LinearSpec> all = new ArrayList<>();
        all.add(linear(inputs.beta().linear(), hidden));
        for (Through t : List.of(inputs.decay(), inputs.z())) {
            if (t.narrow() != null) {
                all.add(narrow(t, hidden));
                all.add(linear(t.rows().linear(), t.rank()));
            }
        }
        if (inputs.decay().narrow() == null) {
            all.add(linear(inputs.decay().rows().linear(), hidden));
        }
        return all.stream().distinct().toList();
    }

    static LinearSpec narrow(Through t, int hidden) {
        return new LinearSpec(t.narrow(), t.rank(), hidden, false, List.of(Size.HIDDEN));
    }

    /// A layer by name, with the rows of all that lie in it.
    LinearSpec linear(String name, int in) {
        long rows = 0;
        rows += rows(name, inputs.q(), heads.keys());
        rows += rows(name, inputs.k(), heads.keys());
        rows += rows(name, inputs.v(), heads.values());
        rows += rows(name, inputs.z().rows(), heads.values());
        rows += rows(name, inputs.beta(), heads.values());
        rows += rows(name, inputs.decay().rows(), heads.values());
        return new LinearSpec(name, rows, in, false, List.of(Size.HIDDEN));
    }

    private static long rows(String name, Span span, int parts) {
        return span.linear().equals(name) ? (long) parts * span.width() : 0;
    }

    private LinearSpec output(int hidden) {
        return new LinearSpec(output, hidden, heads.valueWidth(), false, List.of(Size.HIDDEN));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        return Stream.concat(projections(hidden).stream(), Stream.of(output(hidden))).toList();
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return List.of(new InnerNorm(norm, 1, heads.valueDim(), Size.HEAD_DIM));
    }

    InnerTensor rate() {
        return new InnerTensor(decay.rate(), decay.rateShape(), List.of());
    }

    InnerTensor bias() {
        return new InnerTensor(decay.bias(), new Shape(decays()), List.of());
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return Stream.concat(
                        convolutions.stream().flatMap(c -> c.tensors().stream()),
                        Stream.of(rate(), bias()))
                .toList();
    }

    StateSpec state() {
        return new StateSpec(decay.rate(), heads.stateRows(), heads.valueDim());
    }

    /// Of q, k and v.
    List<ConvolutionSpec> parts() {
        if (convolutions.size() == 3) {
            return convolutions;
        }
        ConvolutionSpec all = convolutions.getFirst();
        return List.of(
                all.part(0, heads.keyWidth()),
                all.part(heads.keyWidth(), heads.keyWidth()),
                all.part(2 * heads.keyWidth(), heads.valueWidth()));
    }

    @Override
    public List<StateSpec> states() {
        return Stream.concat(parts().stream().map(ConvolutionSpec::state), Stream.of(state()))
                .toList();
    }

    @Override
    public List<Class<? extends Op>> special() {
        return List.of(RecurrentOp.DeltaRule.class);
    }

    /// Heads of keys and of values are tied to each other, and to channels of convolutions.
    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of();
    }

    /// SiLU, norms and gates stand between all of its layers.
    @Override
    public List<ScaleGroup> scaleGroups() {
        return List.of();
    }

    @Override
    public Streams streams() {
        List<String> readers = new ArrayList<>();
        projections(1).forEach(l -> readers.add(l.name()));
        routers(1).stream()
                .map(LinearSpec::name)
                .filter(name -> !isBehindNarrow(name))
                .forEach(readers::add);
        return new Streams(readers, List.of(output));
    }

    private boolean isBehindNarrow(String name) {
        return Stream.of(inputs.z(), inputs.decay())
                .anyMatch(t -> t.narrow() != null && t.rows().linear().equals(name));
    }

    @Override
    public List<Joint> joints() {
        return joint()
                ? List.of(
                        new Joint(
                                projections(1).stream().map(LinearSpec::name).toList(),
                                Optional.empty()))
                : List.of();
    }

    @Override
    public long kept() {
        return heads.valueWidth();
    }

    @Override
    public String role() {
        return "gated delta rule";
    }

    @Override
    public String summary() {
        String shared = heads.keys() == heads.values() ? "" : " sharing %d".formatted(heads.keys());
        return "%d states of %d by %d%s"
                .formatted(heads.values(), heads.keyDim(), heads.valueDim(), shared);
    }

    @Override
    public DeltaNetSpec renamed(UnaryOperator<String> names) {
        return new DeltaNetSpec(
                inputs.renamed(names),
                convolutions.stream().map(c -> c.renamed(names)).toList(),
                new Decay(
                        names.apply(decay.rate()),
                        decay.rateShape(),
                        names.apply(decay.bias()),
                        decay.bound()),
                NormSpec.renamed(norm, names),
                gate,
                names.apply(output),
                heads);
    }

    @Override
    public DeltaNet build(BlockBuilder from, int hidden) {
        return DeltaNet.of(this, from, hidden, from.linear(output(hidden)));
    }
}
