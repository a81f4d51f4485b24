// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Over;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// OLMo 2 and 3: norms behind attention and feed-forward alone, and over all queries and all keys
/// of a token; OLMo 3 has layers with a window, which turn by unscaled angles.
final class Olmo2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("olmo2", "olmo3");
    }

    private static final Sizes.Defaults THIRD =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(500_000, 2048));

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 2048));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, c.modelType().equals("olmo3") ? THIRD : ABSENT);
        RopeSpec global = s.rope(Sizes.GLOBAL);
        if (c.modelType().equals("olmo2")) {
            return Llama.decoder(s, tensors, i -> layer(s, Llama.prefix(i), global, 0));
        }
        RopeSpec local = s.rope(Sizes.LOCAL);
        int window = s.window(4096);
        List<String> types = s.layerTypes();
        return Llama.decoder(
                s,
                tensors,
                i ->
                        (types.isEmpty() ? (i + 1) % 4 != 0 : types.get(i).equals(Sizes.LOCAL))
                                ? layer(s, Llama.prefix(i), local, window)
                                : layer(s, Llama.prefix(i), global, 0));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope, int window) {
        String a = p + "self_attn.";
        boolean biased = s.config().flag("attention_bias", false);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        null,
                        s.attention(a, rope, window, biased)
                                .with(
                                        HeadNorms.of(s.norm(a + "q_norm"), s.norm(a + "k_norm"))
                                                .over(Over.PROJECTION)),
                        s.norm(p + "post_attention_layernorm")),
                BranchSpec.of(
                        null,
                        s.mlp(p + "mlp.", "hidden_act", "silu", false),
                        s.norm(p + "post_feedforward_layernorm")));
    }
}
