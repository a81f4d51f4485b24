// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.RopeSpec;
import java.util.List;
import java.util.Set;

/// Llama 1 to 3, Mistral, SmolLM and everything else published under these names.
///
/// Mistral's `sliding_window` holds in every layer.
final class Llama implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("llama", "mistral");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c);
        RopeSpec rope = RopeSpec.of(c.rope(), s.headDim());
        int window = c.modelType().equals("mistral") ? c.integer("sliding_window", 0) : 0;
        return decoder(c, s, i -> layer(c, s, i, rope, window), false);
    }

    private static LayerSpec layer(HfConfig c, Sizes s, int i, RopeSpec rope, int window) {
        String p = "model.layers." + i + ".";
        return new LayerSpec(
                p,
                s.norm(p + "input_layernorm"),
                s.attention(p + "self_attn.", rope, window),
                null,
                s.norm(p + "post_attention_layernorm"),
                s.mlp(p + "mlp.", Sizes.activation(c.text("hidden_act", "silu"))),
                null);
    }

    /// What surrounds the blocks in every model with Llama's names.
    static ModelSpec decoder(
            HfConfig c,
            Sizes s,
            java.util.function.IntFunction<LayerSpec> layer,
            boolean tiedByDefault) {
        return new ModelSpec(
                c.modelType(),
                s.hidden(),
                s.vocabulary(),
                c.integer("max_position_embeddings", Integer.MAX_VALUE),
                s.stack(layer),
                s.norm("model.norm"),
                "model.embed_tokens",
                null,
                1,
                Sizes.head(c, tiedByDefault, "model.embed_tokens", "lm_head"),
                0,
                false);
    }
}
