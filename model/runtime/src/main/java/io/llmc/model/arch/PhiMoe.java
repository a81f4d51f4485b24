// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Phi 3.5 MoE: Mixtral with layer norms, biases and SparseMixer's choice.
final class PhiMoe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("phimoe");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(1_000_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        Mixture mixture = Mixture.of(s, 16, 2).requireTensors(experts(0), tensors);
        float jitter = (float) c.decimal("router_jitter_noise", Sizes.EPS, 0.01);
        RouterSpec choice = new RouterSpec(Scores.SPARSE_MIXER, null, false, 0, 1, jitter);
        ModelSpec.Output output =
                ModelSpec.Output.of(
                        norm(s, "model.norm"),
                        Sizes.head(c, false, "model.embed_tokens", "lm_head"));
        return s.model(
                s.stack(tensors, i -> layer(mixture, i, rope, choice)),
                ModelSpec.Input.of("model.embed_tokens", s.vocabulary(), s.hidden()),
                c.flag("lm_head_bias", false) ? output.withBias() : output);
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "block_sparse_moe.experts.";
    }

    private static NormSpec norm(Sizes s, String name) {
        return NormSpec.layer(name, s.eps());
    }

    private static LayerSpec layer(Mixture mixture, int i, RopeSpec rope, RouterSpec choice) {
        Sizes s = mixture.sizes();
        String p = Llama.prefix(i);
        boolean biased = s.config().flag("attention_bias", false);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        norm(s, p + "input_layernorm"),
                        s.attention(p + "self_attn.", rope, s.window(0), biased)),
                BranchSpec.of(
                        norm(s, p + "post_attention_layernorm"),
                        mixture.body(
                                Router.of(p + "block_sparse_moe.gate", choice),
                                experts(i),
                                Mixture.Names.NUMBERED)));
    }
}
