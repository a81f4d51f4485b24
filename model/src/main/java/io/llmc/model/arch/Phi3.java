// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.RopeSpec;
import java.util.List;
import java.util.Set;

/// Phi 3, 3.5 and Phi-4-mini: Llama with q, k, v in one layer and gate, up in another.
final class Phi3 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("phi3");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c);
        RopeSpec rope = RopeSpec.of(c.rope(), s.headDim());
        return Llama.decoder(c, s, i -> layer(c, s, i, rope), false);
    }

    private static LayerSpec layer(HfConfig c, Sizes s, int i, RopeSpec rope) {
        String p = "model.layers." + i + ".";
        LayerSpec.AttentionLayer plain =
                s.attention(p + "self_attn.", rope, c.integer("sliding_window", 0));
        LayerSpec.Mlp mlp = s.mlp(p + "mlp.", Sizes.activation(c.text("hidden_act", "silu")));
        return new LayerSpec(
                p,
                s.norm(p + "input_layernorm"),
                plain.withProjections(List.of(p + "self_attn.qkv_proj")),
                null,
                s.norm(p + "post_attention_layernorm"),
                new LayerSpec.Mlp(
                        List.of(p + "mlp.gate_up_proj"),
                        mlp.down(),
                        mlp.intermediate(),
                        mlp.activation(),
                        true),
                null);
    }
}
