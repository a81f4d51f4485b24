// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Granite 4: Mamba-2 or attention, experts beside a feed-forward that every token goes to, or that
/// alone; four factors.
final class GraniteHybrid implements Architecture {
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String TYPES = "layer_types";
    private static final String EXPERTS = "num_local_experts";

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-6, RopeConfig.Defaults.of(10_000, 2048));

    @Override
    public List<String> modelTypes() {
        return List.of("granitemoehybrid");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        List<Boolean> scanning = scanning(c, s.layers());
        // Without positions at all but for what the states remember.
        RopeSpec rope = c.text("position_embedding_type", "nope").equals("rope") ? s.rope() : null;
        Scans scans = scanning.contains(true) ? scans(s) : null;
        Mixture mixture =
                c.integer(EXPERTS, Range.zeroTo(1 << 16), 0) == 0
                        ? null
                        : Mixture.of(s, 8, 2).requireTensors(experts(0), tensors);
        return s.model(
                s.stack(
                        tensors,
                        i ->
                                layer(
                                        s,
                                        mixture,
                                        i,
                                        scanning.get(i)
                                                ? mamba(s, scans, i)
                                                : attention(s, i, rope))),
                ModelSpec.Input.of(EMBEDDING, s.vocabulary(), s.hidden())
                        .times(factor(c, "embedding_multiplier")),
                ModelSpec.Output.of(s.norm("model.norm"), Sizes.head(c, true, EMBEDDING, "lm_head"))
                        .times(1 / factor(c, "logits_scaling")));
    }

    private static double factor(HfConfig c, String key) {
        return c.decimal(key, Sizes.CAP, 1);
    }

    private static List<Boolean> scanning(HfConfig c, int layers) {
        List<String> types =
                c.texts(TYPES).stream()
                        .map(t -> t.equals("mamba") ? "linear_attention" : t)
                        .map(t -> t.equals("attention") ? Sizes.GLOBAL : t)
                        .toList();
        return Hybrid.types(c, TYPES, types, layers, "linear_attention");
    }

    private static Scans scans(Sizes s) {
        HfConfig c = s.config();
        var keys =
                new Scans.Keys(
                        "mamba_n_heads",
                        "mamba_d_head",
                        "mamba_n_groups",
                        "mamba_d_state",
                        "mamba_d_conv");
        return Scans.of(c, keys, c.flag("mamba_proj_bias", false), c.flag("mamba_conv_bias", true))
                .requireChannels(
                        "mamba_expand", s.hidden() * c.integer("mamba_expand", Range.upTo(256), 2));
    }

    private static BodySpec mamba(Sizes s, Scans scans, int i) {
        String p = Llama.prefix(i) + "mamba.";
        return scans.body(p, s.norm(p + "norm"));
    }

    private static BodySpec attention(Sizes s, int i, RopeSpec rope) {
        HfConfig c = s.config();
        String p = Llama.prefix(i) + "self_attn.";
        float scale = (float) factor(c, "attention_multiplier");
        return s.attention(p, rope, 0, c.flag("attention_bias", false))
                .with(new SelfAttentionSpec.Scores(scale, 0, 0));
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "block_sparse_moe.experts.";
    }

    private static LayerSpec layer(Sizes s, Mixture mixture, int i, BodySpec mixer) {
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        float residual = (float) factor(c, "residual_multiplier");
        NormSpec norm = s.norm(p + "post_attention_layernorm");
        List<BranchSpec> branches = new ArrayList<>();
        branches.add(BranchSpec.of(s.norm(p + "input_layernorm"), mixer).times(residual));
        BranchSpec shared = BranchSpec.of(norm, shared(s, p)).times(residual);
        if (mixture == null) {
            branches.add(shared);
        } else {
            Router router =
                    Router.of(p + "block_sparse_moe.router.layer", RouterSpec.softmax(true));
            BodySpec routed = mixture.body(router, experts(i), Mixture.Names.NUMBERED);
            branches.add(BranchSpec.of(norm, routed).times(residual));
            branches.add(shared.beside());
        }
        return new LayerSpec(p, branches);
    }

    private static MlpSpec shared(Sizes s, String p) {
        int channels = s.config().integer("shared_intermediate_size", Sizes.CHANNELS, 1024);
        return new MlpSpec(
                        List.of(p + "shared_mlp.input_linear"),
                        p + "shared_mlp.output_linear",
                        false,
                        channels,
                        Activation.SILU,
                        true)
                .of(Size.SHARED_INTERMEDIATE, channels);
    }

    @Override
    public Optional<String> module(String linear) {
        return Mixture.module(linear);
    }

    @Override
    public String key(Size size) {
        return size == Size.SHARED_INTERMEDIATE
                ? "shared_intermediate_size"
                : Architecture.super.key(size);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN && config.texts(TYPES).stream().anyMatch(t -> t.equals("mamba"))
                ? Optional.of("its states have mamba_expand times as many channels as the stream")
                : Optional.empty();
    }
}
