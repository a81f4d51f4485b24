// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.backend.RecurrentOp;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.StateSpec;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// Mamba-2 (Dao and Gu, 2024, arXiv 2405.21060): `output(norm(scan(x, b, c, dt) * silu(z)))`, where
/// x, b and c have gone through a convolution and SiLU.
///
/// @param input name of the layer whose rows are z, x, b, c, dt
/// @param biased whether input and output have biases
/// @param factors of what each of the five gives
/// @param convolution of x, b and c
/// @param scan what the recurrence has of its own
/// @param norm over each group of channels by itself; null for none
/// @param heads value heads are those of x, key heads the groups of b and c
public record MambaSpec(
        String input,
        String output,
        boolean biased,
        List<Float> factors,
        ConvolutionSpec convolution,
        Scan scan,
        NormSpec norm,
        RecurrentOp.Heads heads)
        implements BodySpec {

    /// @param prefix of `A_log`, `D` and `dt_bias`, a number each for each head
    /// @param least of a step
    /// @param most of a step
    public record Scan(String prefix, float least, float most) {}

    public MambaSpec {
        boolean fits =
                factors.size() == 5
                        && convolution.channels() == heads.valueWidth() + 2 * heads.keyWidth();
        if (!fits) {
            throw new IllegalArgumentException("no scan of these sizes: " + input);
        }
    }

    /// Rows of z, x, b, c, dt.
    List<Integer> widths() {
        return List.of(
                heads.valueWidth(),
                heads.valueWidth(),
                heads.keyWidth(),
                heads.keyWidth(),
                heads.values());
    }

    LinearSpec input(int hidden) {
        long rows = widths().stream().mapToInt(Integer::intValue).sum();
        return new LinearSpec(input, rows, hidden, biased, List.of(Size.HIDDEN));
    }

    LinearSpec output(int hidden) {
        return new LinearSpec(output, hidden, heads.valueWidth(), biased, List.of(Size.HIDDEN));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        return List.of(input(hidden), output(hidden));
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return norm == null
                ? List.of()
                : List.of(new InnerNorm(norm, 1, heads.valueWidth(), Size.HEAD_DIM));
    }

    InnerTensor rate() {
        return new InnerTensor(scan.prefix() + "A_log", new Shape(heads.values()), List.of());
    }

    InnerTensor skip() {
        return new InnerTensor(scan.prefix() + "D", new Shape(heads.values()), List.of());
    }

    InnerTensor bias() {
        return new InnerTensor(scan.prefix() + "dt_bias", new Shape(heads.values()), List.of());
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return Stream.concat(convolution.tensors().stream(), Stream.of(rate(), skip(), bias()))
                .toList();
    }

    StateSpec state() {
        return new StateSpec(rate().name(), heads.stateRows(), heads.valueDim());
    }

    /// Of x, b and c.
    List<ConvolutionSpec> parts() {
        return List.of(
                convolution.part(0, heads.valueWidth()),
                convolution.part(heads.valueWidth(), heads.keyWidth()),
                convolution.part(heads.valueWidth() + heads.keyWidth(), heads.keyWidth()));
    }

    @Override
    public List<StateSpec> states() {
        return Stream.concat(parts().stream().map(ConvolutionSpec::state), Stream.of(state()))
                .toList();
    }

    @Override
    public List<Class<? extends Op>> special() {
        return List.of(RecurrentOp.StateSpace.class);
    }

    /// Its heads are tied to channels of the convolution and to groups.
    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of();
    }

    @Override
    public List<ScaleGroup> scaleGroups() {
        return norm == null
                ? List.of()
                : List.of(new ScaleGroup(new ScaleGroup.Weights(norm), List.of(output)));
    }

    @Override
    public Streams streams() {
        return new Streams(List.of(input), List.of(output));
    }

    @Override
    public long kept() {
        return heads.valueWidth();
    }

    @Override
    public String role() {
        return "state space";
    }

    @Override
    public String summary() {
        return "%d states of %d by %d".formatted(heads.values(), heads.keyDim(), heads.valueDim());
    }

    @Override
    public MambaSpec renamed(UnaryOperator<String> names) {
        return new MambaSpec(
                names.apply(input),
                names.apply(output),
                biased,
                factors,
                convolution.renamed(names),
                new Scan(names.apply(scan.prefix()), scan.least(), scan.most()),
                NormSpec.renamed(norm, names),
                heads);
    }

    @Override
    public Mamba build(BlockBuilder from, int hidden) {
        Convolution all = Convolution.of(convolution, from);
        int x = heads.valueWidth();
        int b = heads.keyWidth();
        return new Mamba(
                this,
                from.linear(input(hidden)),
                List.of(all.part(0, x), all.part(x, b), all.part(x + b, b)),
                from.tensor(rate()),
                from.tensor(skip()),
                from.tensor(bias()),
                from.norm(norm, heads.valueWidth()),
                from.linear(output(hidden)));
    }
}
