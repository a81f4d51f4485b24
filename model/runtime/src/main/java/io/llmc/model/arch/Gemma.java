// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Gemma: Llama with norm weights stored minus one, a GELU gate and embeddings times sqrt(hidden).
final class Gemma implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gemma");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(16, 256, 1e-6, RopeConfig.Defaults.of(10_000, 8192));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        return s.model(
                s.stack(tensors, i -> layer(s, Llama.prefix(i), rope)),
                Llama.input(s).times(Math.sqrt(s.hidden())),
                Llama.output(s, s.norm("model.norm").offsetBy(1), true));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope) {
        HfConfig c = s.config();
        boolean biased = c.flag("attention_bias", false);
        // Its first configs ask for the erf form in hidden_act, which no reader takes.
        String key = c.has("hidden_activation") ? "hidden_activation" : "";
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        s.norm(p + "input_layernorm").offsetBy(1),
                        s.attention(p + "self_attn.", rope, 0, biased)),
                BranchSpec.of(
                        s.norm(p + "post_attention_layernorm").offsetBy(1),
                        s.mlp(p + "mlp.", key, "gelu_pytorch_tanh", false)));
    }
}
