// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntFunction;

/// Granite 4: Mamba-2 or attention, experts beside a feed-forward that every token goes to, or that
/// alone; four factors.
final class GraniteHybrid implements Architecture {
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
                        : Mixture.of(s, 8, 2).requireTensors(GraniteMoe.experts(0), tensors);
        IntFunction<BodySpec> mixer =
                i -> scanning.get(i) ? mamba(s, scans, i) : GraniteMoe.attention(s, i, rope);
        return GraniteMoe.model(s, s.stack(tensors, i -> layer(s, mixture, i, mixer)), true);
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
        return Scans.of(
                        c,
                        Scans.Keys.PREFIXED,
                        c.flag("mamba_proj_bias", false),
                        c.flag("mamba_conv_bias", true))
                .requireChannels(
                        "mamba_expand", s.hidden() * c.integer("mamba_expand", Range.upTo(256), 2));
    }

    private static BodySpec mamba(Sizes s, Scans scans, int i) {
        String p = Llama.prefix(i) + "mamba.";
        return scans.body(p, s.norm(p + "norm"));
    }

    private static LayerSpec layer(Sizes s, Mixture mixture, int i, IntFunction<BodySpec> mixer) {
        String p = Llama.prefix(i);
        float residual = (float) GraniteMoe.factor(s.config(), "residual_multiplier");
        NormSpec norm = s.norm(p + "post_attention_layernorm");
        List<BranchSpec> branches = new ArrayList<>();
        branches.add(BranchSpec.of(s.norm(p + "input_layernorm"), mixer.apply(i)).times(residual));
        BranchSpec shared = BranchSpec.of(norm, shared(s, p)).times(residual);
        if (mixture == null) {
            branches.add(shared);
        } else {
            branches.add(BranchSpec.of(norm, GraniteMoe.routed(mixture, i)).times(residual));
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
