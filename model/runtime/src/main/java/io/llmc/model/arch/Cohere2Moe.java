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
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;
import java.util.stream.IntStream;

/// Command A+: Cohere 2 whose feed-forwards are experts and one that every token goes to, averaged,
/// behind first layers without experts that turn and see all.
final class Cohere2Moe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("cohere2_moe");
    }

    private static final Range COUNT = Range.zeroTo(10_000);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 8192));

    /// @param local the layer has a window
    /// @param turns queries and keys turn
    private record Kind(boolean sparse, boolean local, boolean turns) {}

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT, "layer_norm_eps");
        RopeSpec rope = s.rope().inPairs();
        Mixture mixture = Mixture.of(s, 8, 2);
        List<Kind> kinds = kinds(s);
        return s.model(
                s.stack(tensors, i -> layer(mixture, i, kinds.get(i), rope, tensors)),
                Llama.input(s),
                Llama.output(s, norm(s, "model.norm"), true)
                        .times(c.decimal("logit_scale", Range.above(0, 1e6), 0.0625)));
    }

    private static List<Kind> kinds(Sizes s) {
        HfConfig c = s.config();
        IntPredicate sparse = Mixture.sparseBehind(s, "first_k_dense_replace", 0);
        int dense = (int) IntStream.range(0, s.layers()).takeWhile(i -> !sparse.test(i)).count();
        int first = c.integer("prefix_dense_sliding_window_pattern", Sizes.LAYERS, 1);
        int pattern = c.integer("sliding_window_pattern", Sizes.LAYERS, 4);
        List<String> types = s.layerTypes();
        return IntStream.range(0, s.layers())
                .mapToObj(i -> {
                    boolean prefix = i < dense;
                    int step = prefix ? first : pattern;
                    boolean local =
                            types.isEmpty()
                                    ? (i - (prefix ? 0 : dense) + 1) % step != 0
                                    : types.get(i).equals(Sizes.LOCAL);
                    return new Kind(sparse.test(i), local, local || prefix && first == 1);
                })
                .toList();
    }

    private static LayerSpec layer(
            Mixture mixture, int i, Kind kind, RopeSpec rope, Set<String> tensors) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        NormSpec before = norm(s, p + "input_layernorm");
        SelfAttentionSpec attention =
                s.attention(
                        p + "self_attn.",
                        kind.turns() ? rope : null,
                        kind.local() ? s.window(4096) : 0,
                        c.flag("attention_bias", false));
        String m = p + "mlp.";
        if (!kind.sparse()) {
            int channels = c.integer("prefix_dense_intermediate_size", Sizes.CHANNELS);
            MlpSpec mlp = s.mlp(m, "hidden_act", "silu", false).of(Size.INTERMEDIATE, channels);
            return LayerSpec.of(
                    p, BranchSpec.of(before, attention), BranchSpec.of(before, mlp).beside());
        }
        int shared = c.integer("num_shared_experts", COUNT, 0);
        boolean mean = c.text("shared_expert_combination_strategy", "average").equals("average");
        float share = mean && shared > 0 ? 0.5f : 1;
        Scores scores = ExpertChoice.scores(c, Scores.SOFTMAX);
        // A softmax is over the chosen ones alone.
        boolean renormalised = scores == Scores.SOFTMAX || c.flag("norm_topk_prob", true);
        Router router = Router.of(m + "gate", RouterSpec.of(scores, renormalised));
        BodySpec experts =
                mixture.requireTensors(m + "experts.", tensors)
                        .body(router, m + "experts.", Mixture.Names.PROJECTIONS);
        BranchSpec routed = BranchSpec.of(before, experts).beside().times(share);
        LayerSpec alone = LayerSpec.of(p, BranchSpec.of(before, attention), routed);
        int channels = shared * mixture.intermediate();
        return shared == 0
                ? alone
                : Mixture.beside(alone, mixture.shared(m + "shared_experts.", channels), share);
    }

    private static NormSpec norm(Sizes s, String name) {
        return NormSpec.layer(name, s.eps()).withoutBias();
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }
}
