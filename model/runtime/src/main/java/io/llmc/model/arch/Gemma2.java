// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Gemma 2: Gemma with four norms a block, every other layer with a window, scores and logits
/// capped.
final class Gemma2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gemma2");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(4, 256, 1e-6, RopeConfig.Defaults.of(10_000, 8192));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        int window = s.window(4096);
        List<String> types = s.layerTypes();
        return s.model(
                s.stack(
                        tensors,
                        i -> {
                            boolean local =
                                    types.isEmpty() ? i % 2 == 0 : types.get(i).equals(Sizes.LOCAL);
                            return layer(s, Llama.prefix(i), rope, local ? window : 0);
                        }),
                Llama.input(s).times(Math.sqrt(s.hidden())),
                Llama.output(s, s.norm("model.norm").offsetBy(1), true)
                        .cappedAt(cap(c, "final_logit_softcapping", 30)));
    }

    /// 0 for none.
    private static float cap(HfConfig c, String key, double absent) {
        return c.mentions(key) && !c.has(key) ? 0 : (float) c.decimal(key, Sizes.CAP, absent);
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope, int window) {
        HfConfig c = s.config();
        double scalar = c.decimal("query_pre_attn_scalar", Range.above(0, 1e9), 256);
        Scores scores =
                new Scores(
                        (float) (1 / Math.sqrt(scalar)),
                        window,
                        cap(c, "attn_logit_softcapping", 50));
        boolean biased = c.flag("attention_bias", false);
        return Llama.between(
                p,
                s.attention(p + "self_attn.", rope, window, biased).with(scores),
                s.mlp(p + "mlp.", "hidden_activation", "gelu_pytorch_tanh", false),
                norm -> norm.offsetBy(1),
                s);
    }
}
