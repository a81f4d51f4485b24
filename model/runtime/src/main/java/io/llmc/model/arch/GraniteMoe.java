// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Optional;
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
        return s.model(
                s.stack(tensors, i -> layer(mixture, i, rope)),
                ModelSpec.Input.of(embedding(), s.vocabulary(), s.hidden())
                        .times(factor(c, "embedding_multiplier")),
                ModelSpec.Output.of(s.norm("model.norm"), Sizes.head(c, false, embedding(), head()))
                        .times(1 / factor(c, "logits_scaling")));
    }

    private static double factor(HfConfig c, String key) {
        return c.decimal(key, Sizes.CAP, 1);
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "block_sparse_moe.experts.";
    }

    private static LayerSpec layer(Mixture mixture, int i, RopeSpec rope) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        float residual = (float) factor(c, "residual_multiplier");
        float scale = (float) factor(c, "attention_multiplier");
        SelfAttentionSpec attention =
                s.attention(p + "self_attn.", rope, 0, c.flag("attention_bias", false))
                        .with(new SelfAttentionSpec.Scores(scale, 0, 0));
        Router router = Router.of(p + "block_sparse_moe.router.layer", RouterSpec.softmax(true));
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), attention).times(residual),
                BranchSpec.of(
                                s.norm(p + "post_attention_layernorm"),
                                mixture.body(router, experts(i), Mixture.Names.NUMBERED))
                        .times(residual));
    }

    @Override
    public Optional<String> module(String linear) {
        return Mixture.module(linear);
    }
}
