// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// Muse Glimmer: norms before and behind, whose weights are stored minus one, gates on what
/// attends, queries and keys of length one, layers that do not turn, and a normalised embedding.
final class MuseGlimmer implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("muse_glimmer_text");
    }

    private static final Range FACTOR = Range.above(0, 1e6);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        int window = s.window(0);
        List<String> types = s.layerTypes();
        List<Boolean> turns =
                c.decimals("layer_rope_theta", Range.zeroTo(1 << 28)).stream()
                        .map(theta -> theta != 0)
                        .toList();
        if (!turns.isEmpty() && turns.size() != s.layers()) {
            throw c.wrong("layer_rope_theta", "%d numbers".formatted(s.layers()));
        }
        return s.model(
                s.stack(
                        tensors,
                        i ->
                                layer(
                                        s,
                                        Llama.prefix(i),
                                        turns.isEmpty() || turns.get(i) ? rope : null,
                                        !types.isEmpty() && types.get(i).equals(Sizes.LOCAL)
                                                ? window
                                                : 0)),
                Llama.input(s).with(s.norm("").plain()),
                Llama.output(s, s.norm("model.norm"), false)
                        .times(c.decimal("output_multiplier", FACTOR, 1 / Math.sqrt(26)))
                        .cappedAt(
                                c.has("final_logit_softcapping")
                                        ? (float) c.decimal("final_logit_softcapping", Sizes.CAP, 0)
                                        : 0));
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope, int window) {
        HfConfig c = s.config();
        String a = p + "self_attn.";
        double after = c.decimal("post_norm_eps", Sizes.EPS, s.eps());
        NormSpec plain = s.norm("").plain();
        SelfAttentionSpec attention = s.attention(a, rope, window, c.flag("attention_bias", false));
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        s.norm(p + "input_layernorm").offsetBy(1),
                        attention
                                .with(
                                        attention
                                                .scores()
                                                .times(c.decimal("qk_scale_factor", FACTOR, 3.87)))
                                .with(HeadNorms.of(plain, plain))
                                .gatedBy(a + "gate_proj"),
                        NormSpec.rms(p + "post_attention_layernorm", after).offsetBy(1)),
                BranchSpec.of(
                        s.norm(p + "pre_feedforward_layernorm").offsetBy(1),
                        s.mlp(p + "mlp.", "hidden_activation", "silu", false),
                        NormSpec.rms(p + "post_feedforward_layernorm", after).offsetBy(1)));
    }
}
