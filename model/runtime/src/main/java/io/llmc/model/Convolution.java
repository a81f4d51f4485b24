// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;

/// A causal convolution of each channel by itself, with its parameters.
///
/// @param weight `[channels, taps]`
/// @param bias `[channels]`, or null
record Convolution(ConvolutionSpec spec, Tensor weight, Tensor bias) {
    static Convolution of(ConvolutionSpec spec, BlockBuilder from) {
        Tensor weight = from.tensor(spec.weight());
        return new Convolution(
                spec,
                weight.reshape(spec.channels(), spec.taps()),
                spec.biased() ? from.tensor(spec.bias()) : null);
    }

    /// Some of its channels.
    Convolution part(int from, int count) {
        return new Convolution(
                spec.part(from, count),
                weight.rows(from, from + count),
                bias == null
                        ? null
                        : bias.reshape(spec.channels(), 1).rows(from, from + count).reshape(count));
    }

    /// @param x `[tokens, channels]`
    Tensor forward(Forward f, Tensor x) {
        Tensor out = f.allocate(x.rows(), x.cols());
        f.convolve(
                spec.state(), new ForwardOp.Convolve(out, x, weight, bias, f.positions().length()));
        return out;
    }
}
