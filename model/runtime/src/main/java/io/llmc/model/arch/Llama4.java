// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Turns;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;

/// Llama 4: chunks of attention in layers that turn, growing queries in those that do not, and
/// experts whose inputs are weighed.
final class Llama4 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("llama4_text");
    }

    private static final String CHUNKED = "chunked_attention";
    private static final Range COUNT = Range.upTo(1 << 28);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 128, 1e-5, RopeConfig.Defaults.of(500_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope().inPairs();
        Mixture mixture = Mixture.of(s, 16, 1);
        int step = c.integer("interleave_moe_layer_step", COUNT, 1);
        List<Integer> sparse = c.integers("moe_layers");
        List<Boolean> turning = turning(s);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    BodySpec attention = turning.get(i) ? chunked(s, i, rope) : still(s, i, rope);
                    return (sparse.isEmpty() ? (i + 1) % step == 0 : sparse.contains(i))
                            ? experts(mixture, i, attention, tensors)
                            : Llama.layer(s, i, attention, dense(s, i));
                });
    }

    /// Layers that turn see their own chunk, and `layer_types` may say so, too.
    private static List<Boolean> turning(Sizes s) {
        List<Boolean> turning = SmolLm3.turns(s);
        List<String> types = s.config().texts("layer_types");
        if (!types.isEmpty() && !types.stream().map(CHUNKED::equals).toList().equals(turning)) {
            throw s.config().wrong("layer_types", CHUNKED + " for the layers that turn alone");
        }
        return turning;
    }

    private static SelfAttentionSpec attention(Sizes s, int i, RopeSpec rope) {
        boolean biased = s.config().flag("attention_bias", false);
        return s.attention(Llama.prefix(i) + "self_attn.", rope, 0, biased);
    }

    private static BodySpec chunked(Sizes s, int i, RopeSpec rope) {
        HfConfig c = s.config();
        SelfAttentionSpec plain = attention(s, i, rope);
        SelfAttentionSpec chunked =
                plain.with(plain.scores().inChunks(c.integer("attention_chunk_size", COUNT, 8192)));
        NormSpec norm = s.norm("self_attn.qk_norm").plain();
        return c.flag("use_qk_norm", true)
                ? chunked.with(HeadNorms.of(norm, norm).behindTurns())
                : chunked;
    }

    private static BodySpec still(Sizes s, int i, RopeSpec rope) {
        HfConfig c = s.config();
        if (!c.flag("attn_temperature_tuning", true)) {
            return attention(s, i, null);
        }
        var growth =
                new RopeSpec.Growth(
                        c.decimal("attn_scale", Sizes.CAP, 0.1),
                        c.integer("floor_scale", COUNT, 8192),
                        1);
        return attention(s, i, rope)
                .with(
                        new Turns(
                                RopeSpec.growingOnly(rope.config(), s.headDim(), growth),
                                RopeSpec.growingOnly(rope.config(), s.headDim(), null)));
    }

    private static BodySpec dense(Sizes s, int i) {
        int channels = s.config().integer("intermediate_size_mlp", Sizes.CHANNELS, 16_384);
        return s.mlp(Llama.prefix(i) + "feed_forward.", "hidden_act", "silu", false)
                .of(Size.INTERMEDIATE, channels);
    }

    private static LayerSpec experts(
            Mixture mixture, int i, BodySpec attention, Set<String> tensors) {
        String p = Llama.prefix(i) + "feed_forward.";
        Router router = Router.of(p + "router", RouterSpec.of(Scores.SIGMOID, false));
        return Mixture.beside(
                Llama.layer(
                        mixture.sizes(),
                        i,
                        attention,
                        mixture.requireTensors(p + "experts.", tensors)
                                .body(router, p + "experts.", Mixture.Names.PROJECTIONS)
                                .weighingInputs()),
                mixture.shared(p + "shared_expert.", mixture.intermediate()));
    }
}
