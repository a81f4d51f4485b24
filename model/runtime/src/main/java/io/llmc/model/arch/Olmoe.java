// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Over;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// OLMoE: Llama with norms over all queries and all keys, and experts.
final class Olmoe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("olmoe");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 4096));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        Mixture mixture = Mixture.of(s, 64, 8).requireTensors(experts(0), tensors);
        return Llama.decoder(s, tensors, i -> layer(mixture, i, rope));
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "mlp.experts.";
    }

    private static LayerSpec layer(Mixture mixture, int i, RopeSpec rope) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        String a = p + "self_attn.";
        SelfAttentionSpec plain = s.attention(a, rope, 0, c.flag("attention_bias", false));
        boolean renormalised = c.flag("norm_topk_prob", false);
        return Llama.layer(
                s,
                i,
                plain.with(
                        HeadNorms.of(s.norm(a + "q_norm"), s.norm(a + "k_norm"))
                                .over(Over.PROJECTION)),
                mixture.body(
                        Router.of(p + "mlp.gate", RouterSpec.softmax(renormalised)),
                        experts(i),
                        Mixture.Names.PROJECTIONS));
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its readers give the norm over queries a weight for each channel")
                : Optional.empty();
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }
}
