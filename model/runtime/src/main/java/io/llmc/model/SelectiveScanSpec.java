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

/// Mamba (Gu and Dao, 2023, arXiv 2312.00752): `output(scan(x, dt, b, c) * silu(z))`, where x has
/// gone through a convolution and SiLU, dt, b and c are made of it, and dt goes through a layer of
/// its own.
///
/// @param input name of the layer whose rows are x, z
/// @param selection name of the layer whose rows are dt, b, c
/// @param steps name of the layer that makes a step for each channel of dt; its bias always is
/// @param biased whether input and output have biases
/// @param rank channels of dt
/// @param state numbers that a channel keeps
/// @param scan what the names of `A_log` and `D` begin with
/// @param norms of dt, b and c; empty for none
public record SelectiveScanSpec(
        String input,
        String selection,
        String steps,
        String output,
        boolean biased,
        ConvolutionSpec convolution,
        int rank,
        int state,
        String scan,
        List<NormSpec> norms)
        implements BodySpec {
    public SelectiveScanSpec {
        if (rank < 1 || state < 1 || !norms.isEmpty() && norms.size() != 3) {
            throw new IllegalArgumentException("no scan of these sizes: " + input);
        }
    }

    int channels() {
        return convolution.channels();
    }

    /// Rows of dt, b and c.
    List<Integer> widths() {
        return List.of(rank, state, state);
    }

    LinearSpec input(int hidden) {
        return new LinearSpec(input, 2L * channels(), hidden, biased, List.of(Size.HIDDEN));
    }

    LinearSpec output(int hidden) {
        return new LinearSpec(output, hidden, channels(), biased, List.of(Size.HIDDEN));
    }

    LinearSpec selectionLayer() {
        return new LinearSpec(selection, rank + 2L * state, channels(), false, List.of());
    }

    LinearSpec stepsLayer() {
        return new LinearSpec(steps, channels(), rank, true, List.of());
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        return List.of(input(hidden), output(hidden));
    }

    /// Small, and what states keep depends on them; transformers multiplies by the weight of the
    /// second without its layer.
    @Override
    public List<LinearSpec> routers(int hidden) {
        return List.of(selectionLayer(), stepsLayer());
    }

    @Override
    public List<InnerNorm> innerNorms() {
        return Stream.iterate(0, i -> i < norms.size(), i -> i + 1)
                .map(i -> new InnerNorm(norms.get(i), 1, widths().get(i), Size.HEAD_DIM))
                .toList();
    }

    InnerTensor rate() {
        return new InnerTensor(scan + "A_log", new Shape(channels(), state), List.of());
    }

    InnerTensor skip() {
        return new InnerTensor(scan + "D", new Shape(channels()), List.of());
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return Stream.concat(convolution.tensors().stream(), Stream.of(rate(), skip())).toList();
    }

    StateSpec scanned() {
        return new StateSpec(rate().name(), state, channels());
    }

    @Override
    public List<StateSpec> states() {
        return List.of(convolution.state(), scanned());
    }

    @Override
    public List<Class<? extends Op>> special() {
        return List.of(RecurrentOp.SelectiveScan.class);
    }

    /// Its channels are a multiple of the stream's, by the config.
    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of();
    }

    /// SiLU and the scan stand between its layers.
    @Override
    public List<ScaleGroup> scaleGroups() {
        return List.of();
    }

    @Override
    public Streams streams() {
        return new Streams(List.of(input), List.of(output));
    }

    @Override
    public long kept() {
        return channels();
    }

    @Override
    public String role() {
        return "state space";
    }

    @Override
    public String summary() {
        return "%d channels with states of %d".formatted(channels(), state);
    }

    @Override
    public SelectiveScanSpec renamed(UnaryOperator<String> names) {
        return new SelectiveScanSpec(
                names.apply(input),
                names.apply(selection),
                names.apply(steps),
                names.apply(output),
                biased,
                convolution.renamed(names),
                rank,
                state,
                names.apply(scan),
                norms.stream().map(n -> NormSpec.renamed(n, names)).toList());
    }

    @Override
    public SelectiveScan build(BlockBuilder from, int hidden) {
        return new SelectiveScan(
                this,
                from.linear(input(hidden)),
                Convolution.of(convolution, from),
                from.router(selectionLayer()),
                from.router(stepsLayer()),
                innerNorms().stream().map(from::norm).toList(),
                from.tensor(rate()),
                from.tensor(skip()),
                from.linear(output(hidden)));
    }
}
