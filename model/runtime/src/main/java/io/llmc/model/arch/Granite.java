// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Granite: Llama with factors of its own for embeddings, scores, what branches add, and logits.
final class Granite implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("granite");
    }

    private static final Range FACTOR = Range.above(0, 1e6);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-6, RopeConfig.Defaults.of(10_000, 2048));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        return s.model(
                s.stack(tensors, i -> layer(s, Llama.prefix(i), rope)),
                Llama.input(s).times(c.decimal("embedding_multiplier", FACTOR, 1)),
                Llama.output(s, s.norm("model.norm"), false)
                        .times(1 / c.decimal("logits_scaling", FACTOR, 1)));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope) {
        HfConfig c = s.config();
        float added = (float) c.decimal("residual_multiplier", FACTOR, 1);
        Scores scores = new Scores((float) c.decimal("attention_multiplier", FACTOR, 1), 0, 0);
        SelfAttentionSpec attention =
                s.attention(p + "self_attn.", rope, 0, c.flag("attention_bias", false))
                        .with(scores);
        MlpSpec mlp = s.mlp(p + "mlp.", "hidden_act", "silu", c.flag("mlp_bias", false));
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), attention).times(added),
                BranchSpec.of(s.norm(p + "post_attention_layernorm"), mlp).times(added));
    }
}
