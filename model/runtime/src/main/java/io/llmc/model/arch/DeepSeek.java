// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

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
import java.util.Optional;
import java.util.Set;
import java.util.function.IntPredicate;

/// DeepSeek V2 (2024, arXiv 2405.04434), V3 (2024, arXiv 2412.19437) and models like them: latent
/// attention, experts in groups beside some that every token goes to, the first blocks without.
final class DeepSeek implements Architecture {
    private static final String V2 = "deepseek_v2";
    private static final Range COUNT = Range.upTo(1 << 16);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-6, RopeConfig.Defaults.of(10_000, 4096));

    @Override
    public List<String> modelTypes() {
        return List.of(V2, "deepseek_v3", "kimi_k2", "glm4_moe_lite");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        Latents latents = Latents.of(s);
        IntPredicate sparse = sparse(c);
        Mixture mixture = Mixture.of(s, 64, 6);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    var attention = latents.attention(Llama.prefix(i) + "self_attn.");
                    return sparse.test(i)
                            ? sparse(mixture, i, attention, tensors)
                            : Llama.layer(s, i, attention);
                });
    }

    /// Which blocks have experts.
    static IntPredicate sparse(HfConfig c) {
        List<String> types = c.texts("mlp_layer_types");
        if (!types.isEmpty()) {
            return i -> i < types.size() && types.get(i).equals("sparse");
        }
        int dense = c.integer("first_k_dense_replace", Range.zeroTo(10_000), 0);
        int step = c.integer("moe_layer_freq", Sizes.LAYERS, 1);
        return i -> i >= dense && i % step == 0;
    }

    static LayerSpec sparse(Mixture mixture, int i, BodySpec attention, Set<String> tensors) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        String mlp = p + "mlp.";
        NormSpec norm = s.norm(p + "post_attention_layernorm");
        int shared = c.integer("n_shared_experts", COUNT, 1) * mixture.intermediate();
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), attention),
                BranchSpec.of(
                        norm,
                        mixture.requireTensors(mlp + "experts.", tensors)
                                .body(
                                        router(mixture, mlp + "gate"),
                                        mlp + "experts.",
                                        Mixture.Names.PROJECTIONS)),
                BranchSpec.of(norm, mixture.shared(mlp + "shared_experts.", shared)).beside());
    }

    private static Router router(Mixture mixture, String name) {
        ExpertChoice choice =
                switch (mixture.sizes().config().modelType()) {
                    case V2 -> ExpertChoice.SOFTMAX;
                    case "glm4_moe_lite" -> ExpertChoice.SIGMOID.times(1.8);
                    default -> ExpertChoice.SIGMOID.times(2.5);
                };
        return choice.router(mixture, name, name + ".e_score_correction_bias");
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case EXPERTS -> "n_routed_experts";
            case SHARED_INTERMEDIATE -> "moe_intermediate_size, n_shared_experts";
            case HEAD_DIM -> Latents.HEAD_KEYS;
            default -> Architecture.super.key(size);
        };
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.SHARED_INTERMEDIATE
                ? Optional.of("it is a multiple of moe_intermediate_size")
                : Optional.empty();
    }

    /// A head has several sizes, which are written out always.
    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config;
    }
}
