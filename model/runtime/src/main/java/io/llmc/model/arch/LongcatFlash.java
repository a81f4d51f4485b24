// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;

/// LongCat-Flash (2025, arXiv 2509.01322): each layer has latent attention and a feed-forward
/// twice; experts read what the first feed-forward reads, and what they give joins behind the
/// second. Some experts give back what they get.
final class LongcatFlash implements Architecture {
    private static final String LAYERS = "num_layers";
    private static final String INTERMEDIATE = "ffn_hidden_size";
    private static final String EXPERT_INTERMEDIATE = "expert_ffn_hidden_size";

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000_000, 131_072));

    @Override
    public List<String> modelTypes() {
        return List.of("longcat_flash");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = sizes(c);
        Latents latents = Latents.of(s).withFactors();
        Mixture all = Mixture.of(s, 512, 12);
        Mixture mixture =
                new Mixture(
                        s,
                        all.key(),
                        all.experts(),
                        all.topK(),
                        c.integer(EXPERT_INTERMEDIATE, Sizes.CHANNELS),
                        Size.EXPERT_INTERMEDIATE);
        if (!c.text("zero_expert_type", "identity").equals("identity")) {
            throw c.wrong("zero_expert_type", "\"identity\"");
        }
        return Llama.decoder(s, tensors, i -> layer(mixture, latents, i, tensors));
    }

    private static Sizes sizes(HfConfig c) {
        int heads = c.integer("num_attention_heads", Sizes.HEADS);
        return new Sizes(
                c,
                c.integer("hidden_size", Sizes.CHANNELS),
                c.integer("vocab_size", Sizes.VOCABULARY),
                c.integer(LAYERS, Sizes.LAYERS),
                heads,
                heads,
                c.integer("v_head_dim", Sizes.HEAD_DIM),
                c.integer(INTERMEDIATE, Sizes.CHANNELS),
                c.decimal("rms_norm_eps", Sizes.EPS, ABSENT.eps()),
                ABSENT);
    }

    private static LayerSpec layer(Mixture mixture, Latents latents, int i, Set<String> tensors) {
        Sizes s = mixture.sizes();
        String p = Llama.prefix(i);
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        s.norm(p + "input_layernorm.0"), latents.attention(p + "self_attn.0.")),
                BranchSpec.of(late(s, p, 0), mlp(s, p, 0)),
                BranchSpec.of(
                        s.norm(p + "input_layernorm.1"), latents.attention(p + "self_attn.1.")),
                BranchSpec.of(late(s, p, 1), mlp(s, p, 1)),
                BranchSpec.of(late(s, p, 0), experts(mixture, p, tensors)).beside(3));
    }

    /// The norm before a feed-forward.
    private static NormSpec late(Sizes s, String p, int which) {
        return s.norm(p + "post_attention_layernorm." + which);
    }

    private static BodySpec mlp(Sizes s, String p, int which) {
        return s.mlp(p + "mlps." + which + ".", "hidden_act", "silu", false);
    }

    private static BodySpec experts(Mixture mixture, String p, Set<String> tensors) {
        HfConfig c = mixture.sizes().config();
        String mlp = p + "mlp.";
        RouterSpec choice =
                RouterSpec.softmax(c.flag("norm_topk_prob", false))
                        .times((float) c.decimal("routed_scaling_factor", 1));
        Router router = Router.of(mlp + "router.classifier", choice);
        if (c.flag("router_bias", false)) {
            router = router.withBias();
        }
        return mixture.requireTensors(mlp + "experts.", tensors)
                .body(
                        router.correctedBy(mlp + "router.e_score_correction_bias"),
                        mlp + "experts.",
                        Mixture.Names.PROJECTIONS)
                .withIdentities(c.integer("zero_expert_num", Range.zeroTo(1 << 16), 0));
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case LAYERS -> LAYERS;
            case INTERMEDIATE -> INTERMEDIATE;
            case EXPERT_INTERMEDIATE -> EXPERT_INTERMEDIATE;
            case EXPERTS -> "n_routed_experts";
            case HEAD_DIM -> Latents.HEAD_KEYS;
            default -> Architecture.super.key(size);
        };
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config;
    }
}
