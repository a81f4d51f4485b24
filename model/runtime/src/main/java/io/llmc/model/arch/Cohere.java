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
import io.llmc.model.SelfAttentionSpec.Over;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// Command R and its kin: attention and feed-forward side by side behind one LayerNorm without a
/// bias, pairs of neighbours turn, and logits have a factor; Cohere 2 has local layers, which alone
/// turn.
final class Cohere implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("cohere", "cohere2");
    }

    private static final Sizes.Defaults FIRST =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(500_000, 8192));

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 8192));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, c.modelType().equals("cohere") ? FIRST : ABSENT, "layer_norm_eps");
        RopeSpec rope = s.rope().inPairs();
        List<Boolean> slides = slides(s);
        boolean all = c.modelType().equals("cohere");
        int window = all ? 0 : s.window(4096);
        return s.model(
                s.stack(
                        tensors,
                        i ->
                                layer(
                                        s,
                                        Llama.prefix(i),
                                        all || slides.get(i) ? rope : null,
                                        slides.get(i) ? window : 0)),
                Llama.input(s),
                Llama.output(s, norm(s, "model.norm"), true)
                        .times(c.decimal("logit_scale", Range.above(0, 1e6), 0.0625)));
    }

    /// Whether each layer is local.
    private static List<Boolean> slides(Sizes s) {
        List<String> types = s.layerTypes();
        int pattern = s.config().integer("sliding_window_pattern", Sizes.LAYERS, 4);
        return IntStream.range(0, s.layers())
                .mapToObj(i ->
                        types.isEmpty() ? (i + 1) % pattern != 0 : types.get(i).equals(Sizes.LOCAL))
                .toList();
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope, int window) {
        HfConfig c = s.config();
        String a = p + "self_attn.";
        SelfAttentionSpec attention = s.attention(a, rope, window, c.flag("attention_bias", false));
        if (c.flag("use_qk_norm", false)) {
            attention =
                    attention.with(
                            HeadNorms.of(norm(s, a + "q_norm"), norm(s, a + "k_norm"))
                                    .over(Over.EACH_HEAD));
        }
        NormSpec before = norm(s, p + "input_layernorm");
        return LayerSpec.of(
                p,
                BranchSpec.of(before, attention),
                BranchSpec.of(before, s.mlp(p + "mlp.", "hidden_act", "silu", false)).beside());
    }

    private static NormSpec norm(Sizes s, String name) {
        return NormSpec.layer(name, s.eps()).withoutBias();
    }
}
