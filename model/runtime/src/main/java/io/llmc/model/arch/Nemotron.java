// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Minitron and Nemotron 4: LayerNorms with weights stored minus one, a feed-forward of squared
/// ReLUs without a gate, and a part of each head turns.
final class Nemotron implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("nemotron");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 4096).turning(0.5));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT, "norm_eps");
        RopeSpec rope = s.partialRope(c.rope(ABSENT.rope()));
        return s.model(
                s.stack(tensors, i -> layer(s, Llama.prefix(i), rope)),
                Llama.input(s),
                Llama.output(s, norm(s, "model.norm"), false));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope) {
        HfConfig c = s.config();
        MlpSpec mlp =
                new MlpSpec(
                        List.of(p + "mlp.up_proj"),
                        p + "mlp.down_proj",
                        c.flag("mlp_bias", false),
                        s.intermediate(),
                        Sizes.activation(c, "hidden_act", "relu2"),
                        false);
        boolean biased = c.flag("attention_bias", false);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        norm(s, p + "input_layernorm"),
                        s.attention(p + "self_attn.", rope, 0, biased)),
                BranchSpec.of(norm(s, p + "post_attention_layernorm"), mlp));
    }

    private static NormSpec norm(Sizes s, String name) {
        return NormSpec.layer(name, s.eps()).offsetBy(1);
    }
}
