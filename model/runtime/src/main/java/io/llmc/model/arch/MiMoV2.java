// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// MiMo V2 Flash: sinks and twice the KV heads in layers with a window, scaled values narrower than
/// keys, a base of the rotation for each kind of layer, experts by corrected sigmoids.
final class MiMoV2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("mimo_v2_flash");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(
                    4, 192, 1e-5, RopeConfig.Defaults.of(5_000_000, 131_072).turning(0.334));

    @Override
    public ModelSpec spec(HfConfig published, Set<String> tensors) {
        HfConfig c = modern(published);
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec global = s.partialRope(c.rope(Sizes.GLOBAL, ABSENT.rope()));
        RopeSpec local = s.partialRope(c.rope(Sizes.LOCAL, ABSENT.rope()));
        List<String> types = s.layerTypes();
        IntPredicate sparse = Mixture.sparseBehind(s, "first_k_dense_replace", 1);
        Mixture mixture = Mixture.of(s, 256, 8);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    BodySpec attention =
                            types.get(i).equals(Sizes.LOCAL)
                                    ? local(s, i, local)
                                    : attention(s, i, global, s.kvHeads(), 0);
                    return Llama.layer(
                            s,
                            i,
                            attention,
                            sparse.test(i)
                                    ? experts(mixture, i, tensors)
                                    : s.mlp(Llama.prefix(i) + "mlp.", "hidden_act", "silu", false));
                });
    }

    @Override
    public HfConfig modern(HfConfig config) {
        return MiMoKeys.modern(config);
    }

    private static SelfAttentionSpec local(Sizes s, int i, RopeSpec rope) {
        SelfAttentionSpec plain = attention(s, i, rope, 2 * s.kvHeads(), s.window(129));
        return plain.with(
                plain.scores().withSinks(Llama.prefix(i) + "self_attn.attention_sink_bias"));
    }

    private static SelfAttentionSpec attention(
            Sizes s, int i, RopeSpec rope, int kvHeads, int window) {
        HfConfig c = s.config();
        String p = Llama.prefix(i) + "self_attn.";
        int values = c.integer("v_head_dim", Sizes.HEAD_DIM, 128);
        Heads heads = new Heads(s.heads(), kvHeads, s.headDim(), values);
        boolean biased = c.flag("attention_bias", false);
        return new SelfAttentionSpec(
                Projections.apart(p + "q_proj", p + "k_proj", p + "v_proj", biased)
                        .withValuesTimes(scale(c)),
                p + "o_proj",
                false,
                heads,
                Scores.of(heads, window),
                rope);
    }

    private static float scale(HfConfig c) {
        String key = "attention_value_scale";
        boolean none = c.mentions(key) && !c.has(key);
        return none ? 1 : (float) c.decimal(key, Sizes.CAP, 0.707);
    }

    private static BodySpec experts(Mixture mixture, int i, Set<String> tensors) {
        String p = Llama.prefix(i) + "mlp.";
        return mixture.requireTensors(p + "experts.", tensors)
                .body(
                        ExpertChoice.SIGMOID.router(
                                mixture, p + "gate", p + "gate.e_score_correction_bias"),
                        p + "experts.",
                        Mixture.Names.PROJECTIONS);
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "n_routed_experts" : Architecture.super.key(size);
    }
}
