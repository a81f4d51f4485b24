// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// Mamba-2 and Codestral Mamba: one state space a block, and nothing else.
final class Mamba2 implements Architecture {
    private static final String BLOCKS = "backbone.layers.";
    private static final String EMBEDDING = "backbone.embeddings";

    /// It knows no positions; what calls for a longest sequence gets one.
    private static final int POSITIONS = 1 << 20;

    @Override
    public List<String> modelTypes() {
        return List.of("mamba2");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        int hidden = c.integer("hidden_size", Sizes.CHANNELS);
        int vocabulary = c.integer("vocab_size", Sizes.VOCABULARY);
        int layers = c.integer("num_hidden_layers", Sizes.LAYERS);
        double eps = c.decimal("layer_norm_epsilon", Sizes.EPS, 1e-5);
        if (!c.flag("rms_norm", true)) {
            throw c.wrong("rms_norm", "true");
        }
        var keys = new Scans.Keys("num_heads", "head_dim", "n_groups", "state_size", "conv_kernel");
        Scans scans =
                Scans.of(c, keys, c.flag("use_bias", false), c.flag("use_conv_bias", true))
                        .requireChannels(
                                "expand", hidden * c.integer("expand", Range.upTo(256), 2));
        Sizes.requireTensors(c, "num_hidden_layers", BLOCKS + (layers - 1) + ".", tensors);
        return new ModelSpec(
                c.modelType(),
                hidden,
                vocabulary,
                POSITIONS,
                ModelSpec.Input.of(EMBEDDING, vocabulary, hidden),
                IntStream.range(0, layers).mapToObj(i -> layer(scans, i, eps)).toList(),
                ModelSpec.Output.of(
                        NormSpec.rms("backbone.norm_f", eps),
                        Sizes.head(c, false, EMBEDDING, "lm_head")),
                false);
    }

    private static LayerSpec layer(Scans scans, int i, double eps) {
        String p = BLOCKS + i + ".";
        NormSpec gated = NormSpec.rms(p + "mixer.norm", eps);
        return LayerSpec.of(
                p, BranchSpec.of(NormSpec.rms(p + "norm", eps), scans.body(p + "mixer.", gated)));
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its heads have expand times as many channels as the stream")
                : Optional.empty();
    }
}
