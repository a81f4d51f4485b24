// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// GLM 4.5 to 4.7: half of a head turns, experts by corrected sigmoids, and one beside them.
final class Glm4Moe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("glm4_moe", "glm4v_moe_text");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(10_000, 131_072).turning(0.5));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.partialRope(c.rope(ABSENT.rope()));
        Mixture mixture = Mixture.of(s, 128, 8);
        IntPredicate sparse = Mixture.sparseBehind(s, "first_k_dense_replace", 1);
        return Llama.decoder(
                s,
                tensors,
                i ->
                        sparse.test(i)
                                ? experts(mixture, i, attention(s, i, rope), tensors)
                                : Llama.layer(s, i, attention(s, i, rope)));
    }

    private static BodySpec attention(Sizes s, int i, RopeSpec rope) {
        String p = Llama.prefix(i) + "self_attn.";
        HfConfig c = s.config();
        boolean biased = c.flag("attention_bias", false);
        SelfAttentionSpec plain = s.attention(p, rope, 0, biased, false);
        return c.flag("use_qk_norm", false)
                ? plain.with(HeadNorms.of(s.norm(p + "q_norm"), s.norm(p + "k_norm")))
                : plain;
    }

    private static LayerSpec experts(
            Mixture mixture, int i, BodySpec attention, Set<String> tensors) {
        String p = Llama.prefix(i) + "mlp.";
        Range count = Range.zeroTo(10_000);
        return mixture.requireTensors(p + "experts.", tensors)
                .layer(
                        i,
                        attention,
                        ExpertChoice.SIGMOID.router(
                                mixture, p + "gate", p + "gate.e_score_correction_bias"),
                        p + "experts.",
                        p + "shared_experts.",
                        mixture.sizes().config().integer("n_shared_experts", count, 1));
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "n_routed_experts" : Architecture.super.key(size);
    }
}
