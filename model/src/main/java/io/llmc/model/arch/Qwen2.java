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

/// Qwen 2 and 2.5: Llama with biases on q, k and v; where `use_sliding_window` is set, the layers
/// from `max_window_layers` on see a window only.
final class Qwen2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("qwen2");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c);
        RopeSpec rope = RopeSpec.of(c.rope(), s.headDim());
        return Llama.decoder(
                c,
                s,
                i -> {
                    String p = "model.layers." + i + ".";
                    return new LayerSpec(
                            p,
                            s.norm(p + "input_layernorm"),
                            s.attention(p + "self_attn.", rope, window(c, i)),
                            null,
                            s.norm(p + "post_attention_layernorm"),
                            s.mlp(p + "mlp.", Activation.SILU),
                            null);
                },
                false);
    }

    /// Keys that layer i sees; 0 for all.
    static int window(HfConfig c, int i) {
        List<String> types = c.texts("layer_types");
        boolean slides =
                types.isEmpty()
                        ? c.flag("use_sliding_window", false)
                                && i >= c.integer("max_window_layers", 0)
                        : types.get(i).equals("sliding_attention");
        return slides ? c.integer("sliding_window", 0) : 0;
    }
}
