// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.util.List;

/// How rotation frequencies are stretched to longer contexts; every number is there and in range,
/// those that a config leaves out with the values that transformers gives them.
public sealed interface RopeScaling {
    /// The values of `rope_type` that llmc reads, for people.
    String KNOWN = "default, mrope, linear, dynamic, llama3, yarn, longrope, proportional";

    record None() implements RopeScaling {}

    record Linear(double factor) implements RopeScaling {}

    record Dynamic(double factor) implements RopeScaling {}

    /// Frequencies are spread over whole heads, but only the first pairs turn (Gemma 4).
    ///
    /// @param part of a head's pairs that turns
    record Proportional(double part) implements RopeScaling {}

    /// @param originalPositions length of the contexts that the model was first trained with
    record Llama3(double factor, double lowFrequency, double highFrequency, int originalPositions)
            implements RopeScaling {}

    /// @param attentionFactor cosines and sines are multiplied by it
    /// @param scoreFactor scores of latent attention are multiplied by it (`mscale_all_dim`)
    /// @param truncate the ends of the ramp are whole dimensions
    record Yarn(
            double factor,
            double betaFast,
            double betaSlow,
            double attentionFactor,
            double scoreFactor,
            boolean truncate,
            int originalPositions)
            implements RopeScaling {}

    /// @param shortFactors one for each pair of dimensions, up to the original length
    /// @param longFactors the same beyond it
    /// @param shortAttention what cosines and sines are multiplied by, up to the original length
    /// @param longAttention the same beyond it
    record LongRope(
            List<Double> shortFactors,
            List<Double> longFactors,
            double shortAttention,
            double longAttention,
            int originalPositions)
            implements RopeScaling {}
}
