// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RecurrentOp;
import io.llmc.formats.HfConfig;
import io.llmc.model.ConvolutionSpec;
import io.llmc.model.DeltaNetSpec;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// The gated delta rule with a decay for each channel, as Kimi Linear and its descendants have it
/// in config.json.
final class KimiDeltas {
    private static final String OLD = "linear_attn_config";

    private KimiDeltas() {}

    /// What stands in a section of its own in published configs.
    private static HfConfig old(HfConfig c) {
        return c.within(OLD).orElse(c);
    }

    /// Which layers have it.
    static List<Boolean> layers(HfConfig c, int layers) {
        if (c.has("layer_types")) {
            return Hybrid.layers(c, layers, "linear_attention");
        }
        List<Integer> counted = old(c).integers("kda_layers");
        return IntStream.range(0, layers).mapToObj(i -> counted.contains(i + 1)).toList();
    }

    /// @param p what names begin with
    static DeltaNetSpec body(Sizes s, String p) {
        HfConfig c = s.config();
        boolean sectioned = c.has(OLD);
        HfConfig own = old(c);
        int heads = own.integer(sectioned ? "num_heads" : "linear_num_heads", Sizes.HEADS, 32);
        int dim = own.integer(sectioned ? "head_dim" : "linear_head_dim", Sizes.HEAD_DIM, 128);
        String tapsKey = sectioned ? "short_conv_kernel_size" : "linear_conv_kernel_dim";
        int taps = own.integer(tapsKey, Scans.TAPS, 4);
        var sizes = new RecurrentOp.Heads(heads, heads, dim, dim);
        return new DeltaNetSpec(
                DeltaNetSpec.Inputs.lowRank(p, sizes, dim),
                Stream.of("q_conv1d", "k_conv1d", "v_conv1d")
                        .map(name -> new ConvolutionSpec(p + name, heads * dim, taps, false))
                        .toList(),
                new DeltaNetSpec.Decay(p + "A_log", new Shape(1, 1, heads, 1), p + "dt_bias", 0),
                s.norm(p + "o_norm"),
                Activation.SIGMOID,
                p + "o_proj",
                sizes);
    }
}
