// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.Op.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.RopeSpec;
import java.util.List;
import java.util.Set;

/// Qwen 3: Llama with an RMS norm over each head of q and k, before the rotation.
final class Qwen3 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("qwen3");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c).withHeadDim(c.integer("head_dim", 128));
        RopeSpec rope = RopeSpec.of(c.rope(), s.headDim());
        float scale = (float) (1 / Math.sqrt(s.headDim()));
        return Llama.decoder(
                c,
                s,
                i -> {
                    String p = "model.layers." + i + ".";
                    return new LayerSpec(
                            p,
                            s.norm(p + "input_layernorm"),
                            s.attentionWithHeadNorms(
                                    p + "self_attn.", rope, Qwen2.window(c, i), scale, 0),
                            null,
                            s.norm(p + "post_attention_layernorm"),
                            s.mlp(p + "mlp.", Activation.SILU),
                            null);
                },
                false);
    }
}
