// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// OLMo: Llama with LayerNorms that learn nothing, and projections that are clipped.
final class Olmo implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("olmo");
    }

    /// No config has it.
    private static final double EPS = 1e-5;

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, EPS, RopeConfig.Defaults.of(10_000, 2048));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        float clip = c.has("clip_qkv") ? (float) c.decimal("clip_qkv", Sizes.CAP, 0) : 0;
        return s.model(
                s.stack(tensors, i -> layer(s, Llama.prefix(i), rope, clip)),
                Llama.input(s),
                Llama.output(s, norm("model.norm"), false));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope, float clip) {
        boolean biased = s.config().flag("attention_bias", false);
        SelfAttentionSpec attention = s.attention(p + "self_attn.", rope, 0, biased);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        norm(p + "input_layernorm"),
                        attention.with(attention.qkv().clippedAt(clip))),
                BranchSpec.of(
                        norm(p + "post_attention_layernorm"),
                        s.mlp(p + "mlp.", "hidden_act", "silu", false)));
    }

    private static NormSpec norm(String name) {
        return NormSpec.layer(name, EPS).plain();
    }
}
