// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Mixtral: Llama whose feed-forward is a mixture of experts; w1 is the gate, w3 up, w2 down, and
/// the chosen experts' weights sum to one.
final class Mixtral implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("mixtral");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(1_000_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        Mixture mixture = Mixture.of(s, 8, 2).requireTensors(experts(0), tensors);
        return Llama.decoder(s, tensors, i -> layer(s, i, rope, mixture));
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "block_sparse_moe.experts.";
    }

    private static LayerSpec layer(Sizes s, int i, RopeSpec rope, Mixture mixture) {
        String p = Llama.prefix(i);
        Router router = Router.of(p + "block_sparse_moe.gate", RouterSpec.softmax(true));
        return Llama.layer(
                s,
                i,
                s.attention(p + "self_attn.", rope, s.window(0), false),
                mixture.body(router, experts(i), Mixture.Names.NUMBERED));
    }
}
