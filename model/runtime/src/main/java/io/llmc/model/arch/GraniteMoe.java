// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Granite 3 with experts: four factors, experts in one tensor.
final class GraniteMoe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("granitemoe");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-6, RopeConfig.Defaults.of(10_000, 2048));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        Mixture mixture = Mixture.of(s, 8, 2).requireTensors(experts(0), tensors);
        return model(s, s.stack(tensors, i -> layer(mixture, i, rope)), false);
    }

    /// What surrounds the blocks, with its factors.
    static ModelSpec model(Sizes s, List<LayerSpec> layers, boolean tiedByDefault) {
        return s.model(
                layers,
                Llama.input(s).times(factor(s.config(), "embedding_multiplier")),
                Llama.output(s, s.norm("model.norm"), tiedByDefault)
                        .times(1 / factor(s.config(), "logits_scaling")));
    }

    static double factor(HfConfig c, String key) {
        return c.decimal(key, Sizes.CAP, 1);
    }

    static String experts(int i) {
        return Llama.prefix(i) + "block_sparse_moe.experts.";
    }

    private static LayerSpec layer(Mixture mixture, int i, RopeSpec rope) {
        Sizes s = mixture.sizes();
        String p = Llama.prefix(i);
        float residual = (float) factor(s.config(), "residual_multiplier");
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), attention(s, i, rope)).times(residual),
                BranchSpec.of(s.norm(p + "post_attention_layernorm"), routed(mixture, i))
                        .times(residual));
    }

    /// @param rope null for none
    static SelfAttentionSpec attention(Sizes s, int i, RopeSpec rope) {
        HfConfig c = s.config();
        float scale = (float) factor(c, "attention_multiplier");
        return s.attention(Llama.prefix(i) + "self_attn.", rope, 0, c.flag("attention_bias", false))
                .with(new SelfAttentionSpec.Scores(scale, 0, 0));
    }

    static BodySpec routed(Mixture mixture, int i) {
        String router = Llama.prefix(i) + "block_sparse_moe.router.layer";
        return mixture.body(
                Router.of(router, RouterSpec.softmax(true)), experts(i), Mixture.Names.NUMBERED);
    }
}
