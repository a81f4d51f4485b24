// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// GLM 4: pairs of neighbours turn in half of each head, gate and up are one layer; the models of
/// 2025 (glm4) have norms behind attention and feed-forward, too.
final class Glm implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("glm", "glm4");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(
                    2, 128, 1.5625e-7, RopeConfig.Defaults.of(10_000, 131_072).turning(0.5));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.partialRope(c.rope(ABSENT.rope())).inPairs();
        boolean behind = c.modelType().equals("glm4");
        return Llama.decoder(s, tensors, i -> layer(s, Llama.prefix(i), rope, behind));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope, boolean behind) {
        boolean biased = s.config().flag("attention_bias", true);
        MlpSpec mlp = s.mlp(p + "mlp.", "hidden_act", "silu", false);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        s.norm(p + "input_layernorm"),
                        s.attention(p + "self_attn.", rope, 0, biased, false),
                        behind ? s.norm(p + "post_self_attn_layernorm") : null),
                BranchSpec.of(
                        s.norm(p + "post_attention_layernorm"),
                        mlp.fusedAs(p + "mlp.gate_up_proj"),
                        behind ? s.norm(p + "post_mlp_layernorm") : null));
    }
}
