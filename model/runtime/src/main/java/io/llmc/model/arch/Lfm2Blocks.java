// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.BooleanNode;
import com.fasterxml.jackson.databind.node.DoubleNode;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ConvolutionSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.ShortConvolutionSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

/// LFM2's blocks, whatever their feed-forwards are: gated convolutions over three tokens, and
/// attention with head norms in some layers.
final class Lfm2Blocks {
    private static final Range TAPS = new Range(2, 64, false);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(1_000_000, 128_000));

    private Lfm2Blocks() {}

    /// @param intermediate channels of feed-forwards
    static Sizes sizes(HfConfig c, int intermediate) {
        double eps = c.decimal("norm_eps", Sizes.EPS, 1e-5);
        return Sizes.of(
                c.with("rms_norm_eps", DoubleNode.valueOf(eps))
                        .with("intermediate_size", intermediate),
                ABSENT);
    }

    /// @param feedForward of each block
    static ModelSpec decoder(Sizes s, Set<String> tensors, IntFunction<BodySpec> feedForward) {
        HfConfig c = s.config();
        RopeSpec rope = s.rope();
        List<Boolean> convolves = convolves(c, s.layers());
        boolean tied = c.flag("tie_embedding", c.flag("tie_word_embeddings", true));
        HfConfig spelled = c.with("tie_word_embeddings", BooleanNode.valueOf(tied));
        IntFunction<BodySpec> mixer =
                i -> convolves.get(i) ? convolution(s, i) : attention(s, i, rope);
        return s.model(
                s.stack(
                        tensors,
                        i -> {
                            String p = Llama.prefix(i);
                            return LayerSpec.of(
                                    p,
                                    BranchSpec.of(s.norm(p + "operator_norm"), mixer.apply(i)),
                                    BranchSpec.of(s.norm(p + "ffn_norm"), feedForward.apply(i)));
                        }),
                Llama.input(s),
                ModelSpec.Output.of(
                        s.norm("model.embedding_norm"),
                        Sizes.head(spelled, true, "model.embed_tokens", "lm_head")));
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
}
