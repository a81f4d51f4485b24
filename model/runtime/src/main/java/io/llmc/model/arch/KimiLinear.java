// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ConvolutionSpec;
import io.llmc.model.DeltaNetSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntPredicate;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// Kimi Linear (2025, arXiv 2510.26692): the gated delta rule with a decay for each channel, in
/// some layers latent attention in which nothing turns; experts with a shared one.
final class KimiLinear implements Architecture {
    private static final String OLD = "linear_attn_config";

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-6, RopeConfig.Defaults.of(10_000, 4096));

    @Override
    public List<String> modelTypes() {
        return List.of("kimi_linear");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        int positions = c.integer("model_max_length", HfConfig.POSITIONS, 4096);
        Sizes s =
                Sizes.of(
                        c.has("max_position_embeddings")
                                ? c
                                : c.with("max_position_embeddings", positions),
                        ABSENT);
        List<Boolean> linear = linear(c, s.layers());
        IntPredicate sparse = DeepSeek.sparse(c);
        Latents latents = Latents.still(s, c.integer("qk_rope_head_dim", Sizes.HEAD_DIM));
        Mixture mixture = Mixture.of(s, 256, 8);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    String p = Llama.prefix(i) + "self_attn.";
                    BodySpec mixer = linear.get(i) ? delta(s, p) : latents.attention(p);
                    return sparse.test(i)
                            ? sparse(mixture, i, mixer, tensors)
                            : Llama.layer(s, i, mixer);
                });
    }

    /// What stands in a section of its own in published configs.
    private static HfConfig old(HfConfig c) {
        return c.within(OLD).orElse(c);
    }

    private static List<Boolean> linear(HfConfig c, int layers) {
        if (c.has("layer_types")) {
            return Hybrid.layers(c, layers, "linear_attention");
        }
        List<Integer> counted = old(c).integers("kda_layers");
        return IntStream.range(0, layers).mapToObj(i -> counted.contains(i + 1)).toList();
    }

    static DeltaNetSpec delta(Sizes s, String p) {
        HfConfig c = s.config();
        boolean sectioned = c.has(OLD);
        HfConfig own = old(c);
        int heads = own.integer(sectioned ? "num_heads" : "linear_num_heads", Sizes.HEADS, 32);
        int dim = own.integer(sectioned ? "head_dim" : "linear_head_dim", Sizes.HEAD_DIM, 128);
        String tapsKey = sectioned ? "short_conv_kernel_size" : "linear_conv_kernel_dim";
        int taps = own.integer(tapsKey, Scans.TAPS, 4);
        var sizes = new RecurrentOp.Heads(heads, heads, dim, dim);
        return new DeltaNetSpec(
                DeltaNetSpec.Inputs.lowRank(p, sizes, dim),
                Stream.of("q_conv1d", "k_conv1d", "v_conv1d")
                        .map(name -> new ConvolutionSpec(p + name, heads * dim, taps, false))
                        .toList(),
                new DeltaNetSpec.Decay(p + "A_log", new Shape(1, 1, heads, 1), p + "dt_bias", 0),
                s.norm(p + "o_norm"),
                Activation.SIGMOID,
                p + "o_proj",
                sizes);
    }

    private static LayerSpec sparse(Mixture mixture, int i, BodySpec mixer, Set<String> tensors) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        String moe = p + "block_sparse_moe.";
        if (c.integer("num_expert_group", Range.upTo(64), 1) != 1) {
            throw c.wrong("num_expert_group", "1");
        }
        NormSpec norm = s.norm(p + "post_attention_layernorm");
        RouterSpec router =
                RouterSpec.of(RouterSpec.Scores.SIGMOID, c.flag("moe_renormalize", true))
                        .times((float) c.decimal("routed_scaling_factor", 1));
        int shared =
                c.integer("num_shared_experts", Range.upTo(1 << 16), 1) * mixture.intermediate();
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), mixer),
                BranchSpec.of(
                        norm,
                        mixture.requireTensors(moe + "experts.", tensors)
                                .body(
                                        Router.of(moe + "gate", router)
                                                .correctedBy(moe + "gate.e_score_correction_bias"),
                                        moe + "experts.",
                                        Mixture.Names.NUMBERED)),
                BranchSpec.of(norm, mixture.shared(moe + "shared_experts.", shared)).beside());
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
