// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.backend.RecurrentOp;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.ConvolutionSpec;
import io.llmc.model.MambaSpec;
import io.llmc.model.structure.NormSpec;
import java.util.Collections;
import java.util.List;

/// Mamba-2 as config.json has it, under the names of keys that a family gives it.
///
/// @param biased whether its layers have biases
/// @param convolutionBiased whether its convolution has one
/// @param least of a step
record Scans(
        HfConfig config,
        RecurrentOp.Heads heads,
        int taps,
        boolean biased,
        boolean convolutionBiased,
        double least,
        double most) {
    static final Range TAPS = new Range(2, 64, false);
    private static final String LIMIT = "time_step_limit";

    /// @param keys of the number of heads, their size, the number of groups, the size of a state
    static Scans of(HfConfig c, Keys keys, boolean biased, boolean convolutionBiased) {
        int heads = c.integer(keys.heads(), Sizes.HEADS);
        int groups = c.integer(keys.groups(), Sizes.HEADS, 1);
        if (heads % groups != 0) {
            throw c.wrong(
                    keys.groups(), "a number that divides %d, %s".formatted(heads, keys.heads()));
        }
        return new Scans(
                c,
                new RecurrentOp.Heads(
                        groups,
                        heads,
                        c.integer(keys.state(), Sizes.HEAD_DIM),
                        c.integer(keys.dim(), Sizes.HEAD_DIM)),
                c.integer(keys.taps(), TAPS, 4),
                biased,
                convolutionBiased,
                limit(c, 0, 0),
                limit(c, 1, Double.POSITIVE_INFINITY));
    }

    record Keys(String heads, String dim, String groups, String state, String taps) {
        /// Where attention's own keys stand beside them.
        static final Keys PREFIXED =
                new Keys(
                        "mamba_n_heads",
                        "mamba_d_head",
                        "mamba_n_groups",
                        "mamba_d_state",
                        "mamba_d_conv");
    }

    /// Infinity has several spellings in JSON, which has none.
    private static double limit(HfConfig c, int at, double absent) {
        if (!c.has(LIMIT)) {
            return absent;
        }
        JsonNode limits = c.json().path(LIMIT);
        JsonNode one = limits.path(at);
        double value =
                one.isNumber()
                        ? one.doubleValue()
                        : one.path("__float__").asText().equals("Infinity")
                                ? Double.POSITIVE_INFINITY
                                : -1;
        if (limits.size() != 2 || !(value >= 0)) {
            throw c.wrong(LIMIT, "two numbers from 0 on");
        }
        return value;
    }

    Scans from(double leastStep) {
        return new Scans(config, heads, taps, biased, convolutionBiased, leastStep, most);
    }

    /// @throws io.llmc.formats.FormatException where heads do not fill the channels
    Scans requireChannels(String key, int channels) {
        if (heads.valueWidth() != channels) {
            throw config.wrong(
                    key,
                    "what makes %d channels, those of %d heads of %d"
                            .formatted(heads.valueWidth(), heads.values(), heads.valueDim()));
        }
        return this;
    }

    /// @param p what names begin with
    /// @param norm null for none
    MambaSpec body(String p, NormSpec norm) {
        return body(p, norm, Collections.nCopies(5, 1f));
    }

    MambaSpec body(String p, NormSpec norm, List<Float> factors) {
        return new MambaSpec(
                p + "in_proj",
                p + "out_proj",
                biased,
                factors,
                new ConvolutionSpec(
                        p + "conv1d",
                        heads.valueWidth() + 2 * heads.keyWidth(),
                        taps,
                        convolutionBiased),
                new MambaSpec.Scan(p, (float) least, (float) most),
                norm,
                heads);
    }
}
