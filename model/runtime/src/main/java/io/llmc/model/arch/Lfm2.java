// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.BooleanNode;
import com.fasterxml.jackson.databind.node.DoubleNode;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ConvolutionSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.ShortConvolutionSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// LFM2: gated convolutions over three tokens, and attention with head norms in some layers; dense,
/// or with experts behind the first ones.
final class Lfm2 implements Architecture {
    private static final String EXPERTS = "lfm2_moe";
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String ADJUSTED = "block_auto_adjust_ff_dim";
    private static final Range TAPS = new Range(2, 64, false);
    private static final Range FACTOR = Range.above(0, 1000);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(1_000_000, 128_000));

    @Override
    public List<String> modelTypes() {
        return List.of("lfm2", EXPERTS);
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        HfConfig known =
                c.with("rms_norm_eps", DoubleNode.valueOf(c.decimal("norm_eps", Sizes.EPS, 1e-5)))
                        .with("intermediate_size", intermediate(c));
        Sizes s = Sizes.of(known, ABSENT);
        RopeSpec rope = s.rope();
        List<Boolean> convolves = convolves(c, s.layers());
        boolean tied = c.flag("tie_embedding", c.flag("tie_word_embeddings", true));
        return s.model(
                s.stack(
                        tensors,
                        i ->
                                layer(
                                        s,
                                        i,
                                        convolves.get(i)
                                                ? convolution(s, i)
                                                : attention(s, i, rope),
                                        tensors)),
                ModelSpec.Input.of(EMBEDDING, s.vocabulary(), s.hidden()),
                ModelSpec.Output.of(s.norm("model.embedding_norm"), tied ? EMBEDDING : "lm_head"));
    }

    /// Two thirds of what the config says, in whole multiples of something, unless it says not to.
    private static int intermediate(HfConfig c) {
        String key = c.has("block_ff_dim") ? "block_ff_dim" : "intermediate_size";
        int size = c.integer(key, Sizes.CHANNELS, 12_288);
        if (c.modelType().equals(EXPERTS) || !c.flag(ADJUSTED, true)) {
            return size;
        }
        int multiple = c.integer("block_multiple_of", Sizes.CHANNELS, 256);
        int wanted = (int) (c.decimal("block_ffn_dim_multiplier", FACTOR, 1) * (2 * size / 3));
        return multiple * Math.max(1, Math.ceilDiv(wanted, multiple));
    }

    private static List<Boolean> convolves(HfConfig c, int layers) {
        List<String> types = c.texts("layer_types");
        if (types.isEmpty()) {
            List<Integer> attend = c.integers("full_attn_idxs");
            return IntStream.range(0, layers).mapToObj(i -> !attend.contains(i)).toList();
        }
        return Hybrid.types(c, "layer_types", types, layers, "conv");
    }

    private static BodySpec convolution(Sizes s, int i) {
        String p = Llama.prefix(i) + "conv.";
        boolean biased = s.config().flag("conv_bias", false);
        int taps = s.config().integer("conv_L_cache", TAPS, 3);
        return new ShortConvolutionSpec(
                p + "in_proj",
                new ConvolutionSpec(p + "conv", s.hidden(), taps, biased),
                p + "out_proj",
                biased);
    }

    private static BodySpec attention(Sizes s, int i, RopeSpec rope) {
        String p = Llama.prefix(i) + "self_attn.";
        SelfAttentionSpec plain = s.attention(p, rope, 0, false);
        return new SelfAttentionSpec(
                        plain.qkv(), p + "out_proj", false, plain.sizes(), plain.scores(), rope)
                .with(
                        SelfAttentionSpec.HeadNorms.of(
                                s.norm(p + "q_layernorm"), s.norm(p + "k_layernorm")));
    }

    private static LayerSpec layer(Sizes s, int i, BodySpec mixer, Set<String> tensors) {
        String p = Llama.prefix(i);
        String f = p + "feed_forward.";
        boolean dense =
                !s.config().modelType().equals(EXPERTS)
                        || i < s.config().integer("num_dense_layers", Range.zeroTo(10_000), 2);
        BodySpec feedForward =
                dense
                        ? new MlpSpec(
                                List.of(f + "w1", f + "w3"),
                                f + "w2",
                                false,
                                s.intermediate(),
                                Activation.SILU,
                                true)
                        : experts(s, f, tensors);
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "operator_norm"), mixer),
                BranchSpec.of(s.norm(p + "ffn_norm"), feedForward));
    }

    private static BodySpec experts(Sizes s, String f, Set<String> tensors) {
        HfConfig c = s.config();
        Mixture mixture = Mixture.of(s, 32, 4).requireTensors(f + "experts.", tensors);
        Router router = Router.of(f + "gate", mixture.sigmoids(true));
        return mixture.body(
                c.flag("use_expert_bias", true) ? router.correctedBy(f + "expert_bias") : router,
                f + "experts.",
                Mixture.Names.NUMBERED);
    }

    @Override
    public Optional<String> module(String linear) {
        return Mixture.module(linear);
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }

    @Override
    public HfConfig untied(HfConfig config) {
        return Architecture.super.untied(config).with("tie_embedding", BooleanNode.FALSE);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN
                ? Optional.of("its convolutions have as many channels as the stream")
                : Optional.empty();
    }

    @Override
    public HfConfig resized(HfConfig config, ModelSpec spec, Map<Size, Integer> sizes) {
        HfConfig changed = Architecture.super.resized(config, spec, sizes);
        Integer inside = sizes.get(Size.INTERMEDIATE);
        return inside == null || config.modelType().equals(EXPERTS)
                ? changed
                : changed.with("block_ff_dim", inside).with(ADJUSTED, BooleanNode.FALSE);
    }
}
