// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.ConvolutionSpec;
import io.llmc.model.SelectiveScanSpec;
import io.llmc.model.structure.NormSpec;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;

/// Mamba as config.json has it, under the names of keys that a family gives it.
///
/// @param rank channels that steps are made of
/// @param biased whether its layers have biases
/// @param convolutionBiased whether its convolution has one
record SelectiveScans(
        int channels, int state, int rank, int taps, boolean biased, boolean convolutionBiased) {
    private static final Range STATE = Range.upTo(1 << 12);

    /// @param channels of the scan, beside `expand` times those of the stream
    record Keys(String expand, String channels, String state, String rank, String taps) {}

    static SelectiveScans of(
            HfConfig c, int hidden, Keys keys, boolean biased, boolean convolutionBiased) {
        int channels =
                c.has(keys.channels())
                        ? c.integer(keys.channels(), Sizes.CHANNELS)
                        : Math.multiplyExact(hidden, c.integer(keys.expand(), Range.upTo(256), 2));
        return new SelectiveScans(
                channels,
                c.integer(keys.state(), STATE, 16),
                rank(c, keys.rank(), hidden),
                c.integer(keys.taps(), Scans.TAPS, 4),
                biased,
                convolutionBiased);
    }

    /// A number, or `auto`.
    private static int rank(HfConfig c, String key, int hidden) {
        return !c.has(key) || c.json().get(key).asText().equals("auto")
                ? Math.ceilDiv(hidden, 16)
                : c.integer(key, Sizes.CHANNELS);
    }

    /// @param p what names begin with
    /// @param norm over steps, b and c, by its name; null for none
    SelectiveScanSpec body(String p, Function<String, NormSpec> norm) {
        return new SelectiveScanSpec(
                p + "in_proj",
                p + "x_proj",
                p + "dt_proj",
                p + "out_proj",
                biased,
                new ConvolutionSpec(p + "conv1d", channels, taps, convolutionBiased),
                rank,
                state,
                p,
                norm == null
                        ? List.of()
                        : Stream.of("dt_layernorm", "b_layernorm", "c_layernorm")
                                .map(name -> norm.apply(p + name))
                                .toList());
    }
}
