// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.IntStream;

/// Models of one state space a block, and nothing else, under the names of Mamba.
///
/// @param eps of the norms of the stream
record Backbone(HfConfig config, int hidden, int layers, double eps) {
    private static final String BLOCKS = "backbone.layers.";
    private static final String EMBEDDING = "backbone.embeddings";

    /// They know no positions; what calls for a longest sequence gets one.
    private static final int POSITIONS = 1 << 20;

    static Backbone of(HfConfig c) {
        if (!c.flag("rms_norm", true)) {
            throw c.wrong("rms_norm", "true");
        }
        return new Backbone(
                c,
                c.integer("hidden_size", Sizes.CHANNELS),
                c.integer("num_hidden_layers", Sizes.LAYERS),
                c.decimal("layer_norm_epsilon", Sizes.EPS, 1e-5));
    }

    /// @param mixer by what its names begin with
    ModelSpec model(Set<String> tensors, boolean tiedByDefault, Function<String, BodySpec> mixer) {
        Sizes.requireTensors(config, "num_hidden_layers", BLOCKS + (layers - 1) + ".", tensors);
        int vocabulary = config.integer("vocab_size", Sizes.VOCABULARY);
        return new ModelSpec(
                config.modelType(),
                hidden,
                vocabulary,
                POSITIONS,
                ModelSpec.Input.of(EMBEDDING, vocabulary, hidden),
                IntStream.range(0, layers).mapToObj(i -> layer(i, mixer)).toList(),
                ModelSpec.Output.of(
                        NormSpec.rms("backbone.norm_f", eps),
                        Sizes.head(config, tiedByDefault, EMBEDDING, "lm_head")),
                false);
    }

    private LayerSpec layer(int i, Function<String, BodySpec> mixer) {
        String p = BLOCKS + i + ".";
        return LayerSpec.of(
                p, BranchSpec.of(NormSpec.rms(p + "norm", eps), mixer.apply(p + "mixer.")));
    }
}
