// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.NormSpec;
import io.llmc.model.RopeSpec;
import java.util.List;
import java.util.Set;

/// Gemma 3 (text): norm weights stored minus one, four norms a block, norms over the heads of q and
/// k, local layers with a window and a rope base of their own, embeddings times sqrt(hidden).
final class Gemma3 implements Architecture {
    private static final String LOCAL = "sliding_attention";
    private static final String GLOBAL = "full_attention";

    @Override
    public List<String> modelTypes() {
        return List.of("gemma3_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c).withHeadDim(c.integer("head_dim", 256));
        RopeSpec local = RopeSpec.of(c.rope(LOCAL), s.headDim());
        RopeSpec global = RopeSpec.of(c.rope(GLOBAL), s.headDim());
        return new ModelSpec(
                c.modelType(),
                s.hidden(),
                s.vocabulary(),
                c.integer("max_position_embeddings", Integer.MAX_VALUE),
                s.stack(i -> layer(c, s, i, isLocal(c, i) ? local : global)),
                norm(s, "model.norm"),
                "model.embed_tokens",
                null,
                (float) Math.sqrt(s.hidden()),
                Sizes.head(c, true, "model.embed_tokens", "lm_head"),
                (float) c.decimal("final_logit_softcapping", 0),
                false);
    }

    private static LayerSpec layer(HfConfig c, Sizes s, int i, RopeSpec rope) {
        String p = "model.layers." + i + ".";
        float scale = (float) (1 / Math.sqrt(c.decimal("query_pre_attn_scalar", 256)));
        int window = isLocal(c, i) ? c.integer("sliding_window", 4096) : 0;
        return new LayerSpec(
                p,
                norm(s, p + "input_layernorm"),
                s.attentionWithHeadNorms(p + "self_attn.", rope, window, scale, 1)
                        .withSoftcap((float) c.decimal("attn_logit_softcapping", 0)),
                norm(s, p + "post_attention_layernorm"),
                norm(s, p + "pre_feedforward_layernorm"),
                s.mlp(
                        p + "mlp.",
                        Sizes.activation(c.text("hidden_activation", "gelu_pytorch_tanh"))),
                norm(s, p + "post_feedforward_layernorm"));
    }

    private static boolean isLocal(HfConfig c, int i) {
        List<String> types = c.texts("layer_types");
        return types.isEmpty()
                ? (i + 1) % c.integer("sliding_window_pattern", 6) != 0
                : types.get(i).equals(LOCAL);
    }

    private static NormSpec norm(Sizes s, String name) {
        return s.norm(name).offsetBy(1);
    }
}
