// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SumSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;

/// Trinity: gated attention that turns in layers with a window alone, norms on both sides, experts
/// by corrected sigmoids.
final class Afmoe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("afmoe");
    }

    private static final Range COUNT = Range.zeroTo(10_000);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 128, 1e-5, RopeConfig.Defaults.of(10_000, 16_384));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        Mixture mixture = Mixture.of(s, 64, 6);
        List<String> types = s.layerTypes();
        int every = c.integer("global_attn_every_n_layers", Sizes.LAYERS, 4);
        int dense = c.integer("num_dense_layers", COUNT, 1);
        ModelSpec.Input input = Llama.input(s);
        return s.model(
                s.stack(
                        tensors,
                        i -> {
                            boolean local =
                                    types.isEmpty()
                                            ? (i + 1) % every != 0
                                            : types.get(i).equals(Sizes.LOCAL);
                            String p = Llama.prefix(i);
                            BodySpec mlp =
                                    i < dense
                                            ? s.mlp(p + "mlp.", "hidden_act", "silu", false)
                                            : null;
                            return layer(mixture, p, local ? rope : null, mlp, tensors);
                        }),
                c.flag("mup_enabled", false) ? input.times(Math.sqrt(s.hidden())) : input,
                Llama.output(s, s.norm("model.norm"), false));
    }

    /// @param rope null in a layer that sees all
    /// @param mlp null where there are experts
    private static LayerSpec layer(
            Mixture mixture, String p, RopeSpec rope, BodySpec mlp, Set<String> tensors) {
        Sizes s = mixture.sizes();
        String a = p + "self_attn.";
        int window = rope == null ? 0 : s.window(1024);
        BodySpec attention =
                s.attention(a, rope, window, s.config().flag("attention_bias", false))
                        .with(HeadNorms.of(s.norm(a + "q_norm"), s.norm(a + "k_norm")))
                        .gatedBy(a + "gate_proj");
        NormSpec before = s.norm(p + "pre_mlp_layernorm");
        NormSpec behind = s.norm(p + "post_mlp_layernorm");
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        s.norm(p + "input_layernorm"),
                        attention,
                        s.norm(p + "post_attention_layernorm")),
                mlp != null
                        ? BranchSpec.of(before, mlp, behind)
                        : experts(mixture, p + "mlp.", before, behind, tensors));
    }

    private static BranchSpec experts(
            Mixture mixture, String p, NormSpec before, NormSpec behind, Set<String> tensors) {
        HfConfig c = mixture.sizes().config();
        RouterSpec choice =
                RouterSpec.of(ExpertChoice.scores(c, Scores.SIGMOID), c.flag("route_norm", true))
                        .times((float) c.decimal("route_scale", Sizes.CAP, 1));
        Router router = Router.of(p + "router.gate", choice).correctedBy(p + "expert_bias");
        BodySpec routed =
                mixture.requireTensors(p + "experts.", tensors)
                        .body(router, p + "experts.", Mixture.Names.PROJECTIONS);
        int shared = c.integer("num_shared_experts", COUNT, 2);
        if (shared == 0) {
            return BranchSpec.of(before, routed, behind);
        }
        BodySpec all = mixture.shared(p + "shared_experts.", shared * mixture.intermediate());
        List<BranchSpec> terms = List.of(BranchSpec.of(before, routed), BranchSpec.of(before, all));
        return BranchSpec.of(null, new SumSpec(terms, mixture.sizes().hidden()), behind);
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }
}
