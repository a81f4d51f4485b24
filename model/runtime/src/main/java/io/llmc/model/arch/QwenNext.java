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
import io.llmc.model.DeltaNetSpec.Inputs;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;

/// Qwen3-Next and Qwen3.5: most layers have the gated delta rule, every fourth attention whose
/// output is gated; dense, or with experts.
final class QwenNext implements Architecture {
    private static final String FIRST = "qwen3_next";
    private static final String DENSE = "qwen3_5_text";
    private static final Range TAPS = new Range(2, 64, false);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(4, 256, 1e-6, RopeConfig.Defaults.of(10_000, 32_768).turning(0.25));

    @Override
    public List<String> modelTypes() {
        return List.of(FIRST, DENSE, "qwen3_5_moe_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        // Where all layers have experts, nothing reads it.
        boolean given = c.has("intermediate_size");
        Sizes s = Sizes.of(given ? c : c.with("intermediate_size", 1), ABSENT);
        RopeSpec rope = s.partialRope(c.rope(ABSENT.rope()));
        List<Boolean> linear = Hybrid.layers(c, s.layers(), "linear_attention");
        IntFunction<BodySpec> mixer = i -> linear.get(i) ? deltaNet(s, i) : attention(s, i, rope);
        return s.model(
                s.stack(tensors, i -> layer(s, i, mixer.apply(i), tensors)),
                Llama.input(s),
                Llama.output(s, s.norm("model.norm").offsetBy(1), false));
    }

    private static BodySpec attention(Sizes s, int i, RopeSpec rope) {
        String p = Llama.prefix(i) + "self_attn.";
        return s.attention(p, rope, 0, s.config().flag("attention_bias", false))
                .with(
                        HeadNorms.of(
                                s.norm(p + "q_norm").offsetBy(1), s.norm(p + "k_norm").offsetBy(1)))
                .gatedBy(p + "q_proj");
    }

    private static BodySpec deltaNet(Sizes s, int i) {
        HfConfig c = s.config();
        String p = Llama.prefix(i) + "linear_attn.";
        int keys = c.integer("linear_num_key_heads", Sizes.HEADS, 16);
        int values = c.integer("linear_num_value_heads", Sizes.HEADS, 32);
        if (values % keys != 0) {
            String expected = "a multiple of %d, linear_num_key_heads".formatted(keys);
            throw c.wrong("linear_num_value_heads", expected);
        }
        var heads =
                new RecurrentOp.Heads(
                        keys,
                        values,
                        c.integer("linear_key_head_dim", Sizes.HEAD_DIM, 128),
                        c.integer("linear_value_head_dim", Sizes.HEAD_DIM, 128));
        int taps = c.integer("linear_conv_kernel_dim", TAPS, 4);
        int channels = 2 * heads.keyWidth() + heads.valueWidth();
        return new DeltaNetSpec(
                c.modelType().equals(FIRST) ? Inputs.byKeyHead(p, heads) : Inputs.apart(p, heads),
                List.of(new ConvolutionSpec(p + "conv1d", channels, taps, false)),
                new DeltaNetSpec.Decay(p + "A_log", new Shape(values), p + "dt_bias", 0),
                s.norm(p + "norm"),
                Activation.SILU,
                p + "out_proj",
                heads);
    }

    private static LayerSpec layer(Sizes s, int i, BodySpec mixer, Set<String> tensors) {
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        String mlp = p + "mlp.";
        NormSpec norm = s.norm(p + "post_attention_layernorm").offsetBy(1);
        BranchSpec first = BranchSpec.of(s.norm(p + "input_layernorm").offsetBy(1), mixer);
        if (c.modelType().equals(DENSE) || !Mixture.sparse(c).test(i)) {
            BodySpec dense = s.mlp(mlp, "hidden_act", "silu", false);
            return LayerSpec.of(p, first, BranchSpec.of(norm, dense));
        }
        Mixture mixture = Mixture.of(s, 512, 10).requireTensors(mlp + "experts.", tensors);
        int shared = c.integer("shared_expert_intermediate_size", Sizes.CHANNELS, 512);
        RouterSpec router = RouterSpec.softmax(c.flag("norm_topk_prob", true));
        Router gate = Router.of(mlp + "gate", router);
        BodySpec experts = mixture.body(gate, mlp + "experts.", Mixture.Names.PROJECTIONS);
        return Mixture.beside(
                LayerSpec.of(p, first, BranchSpec.of(norm, experts)),
                mixture.shared(mlp + "shared_expert.", shared)
                        .sharedBy(mlp + "shared_expert_gate"));
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }
}
