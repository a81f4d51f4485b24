// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.Span;
import io.llmc.model.structure.StateSpec;
import io.llmc.model.structure.Streams;
import java.util.List;
import java.util.function.UnaryOperator;

/// A convolution over a few rows, between two gates: `output(c * convolution(b * x))`, where the
/// rows of `input` are b, c, x one after the other (LFM2).
///
/// @param biased whether both linear layers have biases
public record ShortConvolutionSpec(
        String input, ConvolutionSpec convolution, String output, boolean biased)
        implements BodySpec {

    int channels() {
        return convolution.channels();
    }

    LinearSpec input(int hidden) {
        return new LinearSpec(input, 3L * channels(), hidden, biased, List.of(Size.HIDDEN));
    }

    LinearSpec output(int hidden) {
        return new LinearSpec(output, hidden, channels(), biased, List.of(Size.HIDDEN));
    }

    @Override
    public List<LinearSpec> linears(int hidden) {
        return List.of(input(hidden), output(hidden));
    }

    @Override
    public List<InnerTensor> innerTensors() {
        return convolution.tensors();
    }

    @Override
    public List<StateSpec> states() {
        return List.of(convolution.state());
    }

    /// Its channels are those of the stream, by the config.
    @Override
    public List<PruneGroup> pruneGroups() {
        return List.of();
    }

    /// All is linear in c.
    @Override
    public List<ScaleGroup> scaleGroups() {
        Span gate = Span.of(input, channels(), 1);
        return List.of(new ScaleGroup(new ScaleGroup.Rows(gate, channels(), 1), List.of(output)));
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
        return "short convolution";
    }

    @Override
    public String summary() {
        return "%d channels over %d tokens".formatted(channels(), convolution.taps());
    }

    @Override
    public ShortConvolutionSpec renamed(UnaryOperator<String> names) {
        return new ShortConvolutionSpec(
                names.apply(input), convolution.renamed(names), names.apply(output), biased);
    }

    @Override
    public ShortConvolution build(BlockBuilder from, int hidden) {
        return new ShortConvolution(
                this,
                from.linear(input(hidden)),
                Convolution.of(convolution, from),
                from.linear(output(hidden)));
    }
}
