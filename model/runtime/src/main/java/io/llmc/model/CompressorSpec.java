// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.BodySpec.InnerNorm;
import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.UnaryOperator;

/// What makes one key of several tokens that follow each other: a weighted mean, channel by
/// channel, normed and turned by the position of the first (DeepSeek V4, 2026).
///
/// @param prefix of the names of what it has
/// @param rate tokens of a key
/// @param dim channels of a key
/// @param overlaps whether the tokens of the key before count, too, with layers of their own
/// @param eps of the norm
/// @param turns of the first token
public record CompressorSpec(
        String prefix, int rate, int dim, boolean overlaps, double eps, RopeSpec turns) {
    public CompressorSpec {
        if (rate < 1 || dim < 1 || turns.rotated() > dim) {
            throw new IllegalArgumentException("no keys of %d of %d tokens".formatted(dim, rate));
        }
    }

    private int width() {
        return overlaps ? 2 * dim : dim;
    }

    String values() {
        return prefix + "wkv";
    }

    String gates() {
        return prefix + "wgate";
    }

    /// What is averaged, and what makes the weights.
    List<LinearSpec> linears(int hidden) {
        List<Size> sizes = List.of(Size.HEAD_DIM, Size.HIDDEN);
        return List.of(
                new LinearSpec(values(), width(), hidden, false, sizes),
                new LinearSpec(gates(), width(), hidden, false, sizes));
    }

    /// Added to what makes the weights, by place among the tokens of a key.
    InnerTensor places() {
        return new InnerTensor(prefix + "ape", new Shape(rate, width()), List.of(Size.HEAD_DIM));
    }

    InnerNorm innerNorm() {
        return new InnerNorm(NormSpec.rms(prefix + "norm", eps), 1, dim, Size.HEAD_DIM);
    }

    /// A key lies where its last token does.
    RopeSpec keyTurns() {
        return turns.lagging(rate - 1);
    }

    /// What is kept of the tokens from which keys are still to be made.
    PageSpec tokens() {
        return new PageSpec(prefix + "tokens", 1, 2 * width(), false);
    }

    /// Of them those that the next key is made of.
    int window() {
        return overlaps ? 2 * rate : rate;
    }

    PageSpec keys() {
        return new PageSpec(prefix + "keys", 1, dim, false);
    }

    CompressorSpec renamed(UnaryOperator<String> names) {
        return new CompressorSpec(names.apply(prefix), rate, dim, overlaps, eps, turns);
    }

    Compressor build(BlockBuilder from, int hidden) {
        return new Compressor(
                this,
                linears(hidden).stream().map(from::router).toList(),
                from.tensor(places()),
                from.norm(innerNorm()));
    }
}
