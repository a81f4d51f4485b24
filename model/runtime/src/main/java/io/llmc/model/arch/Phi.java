// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.SelfAttentionSpec.Turns;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Phi 1 to 2: attention and feed-forward side by side behind one LayerNorm, biases everywhere, and
/// a part of each head turns.
final class Phi implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("phi");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 2048).turning(0.5));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT, "layer_norm_eps");
        RopeSpec rope = s.partialRope(c.rope(ABSENT.rope()));
        return s.model(
                s.stack(tensors, i -> layer(s, Llama.prefix(i), rope)),
                Llama.input(s),
                Llama.output(s, NormSpec.layer("model.final_layernorm", s.eps()), false)
                        .withBias());
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope) {
        String a = p + "self_attn.";
        Heads heads = new Heads(s.heads(), s.kvHeads(), s.headDim());
        HeadNorms norms =
                s.config().flag("qk_layernorm", false)
                        ? HeadNorms.of(
                                NormSpec.layer(a + "q_layernorm", s.eps()),
                                NormSpec.layer(a + "k_layernorm", s.eps()))
                        : null;
        SelfAttentionSpec attention =
                new SelfAttentionSpec(
                        Projections.apart(a + "q_proj", a + "k_proj", a + "v_proj", true),
                        a + "dense",
                        true,
                        heads,
                        Scores.of(heads, 0),
                        Turns.of(rope),
                        norms,
                        null);
        MlpSpec mlp =
                new MlpSpec(
                        List.of(p + "mlp.fc1"),
                        p + "mlp.fc2",
                        true,
                        s.intermediate(),
                        Sizes.activation(s.config(), "hidden_act", "gelu_new"),
                        false);
        NormSpec before = NormSpec.layer(p + "input_layernorm", s.eps());
        return LayerSpec.of(
                p, BranchSpec.of(before, attention), BranchSpec.of(before, mlp).beside());
    }
}
