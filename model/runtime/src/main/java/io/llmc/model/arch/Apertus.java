// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Apertus: norms over the heads of queries and keys, and a feed-forward without a gate whose
/// activation has learned numbers (xIELU).
final class Apertus implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("apertus");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(12_000_000, 65_536));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        return Llama.decoder(s, tensors, i -> layer(s, Llama.prefix(i), rope));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope) {
        HfConfig c = s.config();
        if (!c.text("hidden_act", "xielu").equals("xielu")) {
            throw c.wrong("hidden_act", "xielu");
        }
        float scale = (float) (1 / Math.sqrt(s.headDim()));
        MlpSpec mlp =
                new MlpSpec(
                        List.of(p + "mlp.up_proj"),
                        p + "mlp.down_proj",
                        c.flag("mlp_bias", false),
                        s.intermediate(),
                        new Nonlinearity.Xielu(p + "mlp.act_fn."),
                        false);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        s.norm(p + "attention_layernorm"),
                        s.attentionWithHeadNorms(p + "self_attn.", rope, 0, scale, 0)),
                BranchSpec.of(s.norm(p + "feedforward_layernorm"), mlp));
    }
}
