// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntPredicate;

/// Kimi Linear (2025, arXiv 2510.26692): the gated delta rule with a decay for each channel, in
/// some layers latent attention in which nothing turns; experts with a shared one.
final class KimiLinear implements Architecture {
    private static final Architecture FAMILY = new DeepSeek();

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 4096));

    @Override
    public List<String> modelTypes() {
        return List.of("kimi_linear");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        int positions = c.integer("model_max_length", HfConfig.POSITIONS, 4096);
        boolean given = c.has("max_position_embeddings");
        Sizes s = Sizes.of(given ? c : c.with("max_position_embeddings", positions), ABSENT);
        List<Boolean> linear = KimiDeltas.layers(c, s.layers());
        IntPredicate sparse = DeepSeek.sparse(c);
        Latents latents = Latents.still(s, c.integer("qk_rope_head_dim", Sizes.HEAD_DIM));
        Mixture mixture = Mixture.of(s, 256, 8);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    String p = Llama.prefix(i) + "self_attn.";
                    BodySpec mixer = linear.get(i) ? KimiDeltas.body(s, p) : latents.attention(p);
                    return sparse.test(i)
                            ? sparse(mixture, i, mixer, tensors)
                            : Llama.layer(s, i, mixer);
                });
    }

    private static LayerSpec sparse(Mixture mixture, int i, BodySpec mixer, Set<String> tensors) {
        HfConfig c = mixture.sizes().config();
        String moe = Llama.prefix(i) + "block_sparse_moe.";
        Router router =
                ExpertChoice.SIGMOID
                        .times(2.446)
                        .router(mixture, moe + "gate", moe + "gate.e_score_correction_bias");
        BodySpec experts =
                mixture.requireTensors(moe + "experts.", tensors)
                        .body(router, moe + "experts.", Mixture.Names.NUMBERED);
        int shared = c.integer("num_shared_experts", Range.upTo(1 << 16), 1);
        return Mixture.beside(
                Llama.layer(mixture.sizes(), i, mixer, experts),
                mixture.shared(moe + "shared_experts.", shared * mixture.intermediate()));
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case EXPERTS -> "num_experts";
            case SHARED_INTERMEDIATE -> "moe_intermediate_size, num_shared_experts";
            case HEAD_DIM -> Latents.HEAD_KEYS;
            default -> Architecture.super.key(size);
        };
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return FAMILY.fixed(size, config);
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return FAMILY.withHeadDim(config, spec);
    }
}
