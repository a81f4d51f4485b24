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
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntPredicate;

/// Jamba (2024, arXiv 2403.19887): Mamba with norms of what is selected or, once a period,
/// attention without positions; then experts, once a period, or a feed-forward.
final class Jamba implements Architecture {
    private static final String EXPERTS = "num_experts";

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-6, RopeConfig.Defaults.of(10_000, 262_144));

    private static final SelectiveScans.Keys KEYS =
            new SelectiveScans.Keys(
                    "mamba_expand", "", "mamba_d_state", "mamba_dt_rank", "mamba_d_conv");

    @Override
    public List<String> modelTypes() {
        return List.of("jamba");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        SelectiveScans scans =
                SelectiveScans.of(
                        c,
                        s.hidden(),
                        KEYS,
                        c.flag("mamba_proj_bias", false),
                        c.flag("mamba_conv_bias", true));
        IntPredicate attends = once(c, "attn_layer_period", 8, "attn_layer_offset", 4);
        IntPredicate sparse = once(c, "expert_layer_period", 2, "expert_layer_offset", 1);
        Mixture mixture =
                c.integer(EXPERTS, Range.upTo(1 << 16), 16) == 1 ? null : Mixture.of(s, 16, 2);
        return s.model(
                s.stack(
                        tensors,
                        i -> {
                            String p = Llama.prefix(i);
                            BodySpec mixer =
                                    attends.test(i)
                                            ? s.attention(p + "self_attn.", null, 0, false)
                                            : scans.body(p + "mamba.", s::norm);
                            boolean routed = mixture != null && sparse.test(i);
                            return layer(s, p, mixer, routed ? mixture : null, tensors);
                        }),
                Llama.input(s),
                Llama.output(s, s.norm("model.final_layernorm"), false));
    }

    /// @param mixture null where there is a feed-forward
    private static LayerSpec layer(
            Sizes s, String p, BodySpec mixer, Mixture mixture, Set<String> tensors) {
        String f = p + "feed_forward.";
        BodySpec feedForward =
                mixture == null
                        ? s.mlp(f, "hidden_act", "silu", false)
                        : mixture.requireTensors(f + "experts.", tensors)
                                .body(
                                        Router.of(f + "router", RouterSpec.softmax(false)),
                                        f + "experts.",
                                        Mixture.Names.PROJECTIONS);
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), mixer),
                BranchSpec.of(s.norm(p + "pre_ff_layernorm"), feedForward));
    }

    /// One layer of a period.
    private static IntPredicate once(
            HfConfig c, String period, int every, String offset, int which) {
        int length = c.integer(period, Sizes.LAYERS, every);
        int at = c.integer(offset, Range.zeroTo(10_000), which);
        if (at >= length) {
            throw c.wrong(offset, "less than %d, %s".formatted(length, period));
        }
        return i -> i % length == at;
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? EXPERTS : Architecture.super.key(size);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its scans have mamba_expand times as many channels as the stream")
                : Optional.empty();
    }
}
