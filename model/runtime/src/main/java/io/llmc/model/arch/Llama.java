// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.function.UnaryOperator;

/// Llama 1 to 3, Mistral, SmolLM and everything else published under these names.
///
/// Mistral's `sliding_window` holds in every layer.
final class Llama implements Architecture {
    private static final String EMBEDDING = "model.embed_tokens";

    @Override
    public List<String> modelTypes() {
        return List.of("llama", "mistral");
    }

    private static final Sizes.Defaults LLAMA =
            new Sizes.Defaults(0, 0, 1e-6, RopeConfig.Defaults.of(10_000, 2048));

    private static final Sizes.Defaults MISTRAL =
            new Sizes.Defaults(8, 0, 1e-6, RopeConfig.Defaults.of(10_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        if (c.modelType().equals("mistral")) {
            Sizes s = Sizes.of(c, MISTRAL);
            RopeSpec rope = s.rope();
            int window = s.window(4096);
            return decoder(
                    s,
                    tensors,
                    i -> layer(s, i, s.attention(attention(i), rope, window, false), false));
        }
        Sizes s = Sizes.of(c, LLAMA);
        RopeSpec rope = s.rope();
        boolean biased = c.flag("attention_bias", false);
        boolean mlpBiased = c.flag("mlp_bias", false);
        return decoder(
                s,
                tensors,
                i -> layer(s, i, s.attention(attention(i), rope, 0, biased), mlpBiased));
    }

    private static String attention(int i) {
        return prefix(i) + "self_attn.";
    }

    static String prefix(int i) {
        return Sizes.BLOCKS + i + ".";
    }

    /// A block with Llama's names and no biases in its MLP.
    static LayerSpec layer(Sizes s, int i, BodySpec attention) {
        return layer(s, i, attention, false);
    }

    private static LayerSpec layer(Sizes s, int i, BodySpec attention, boolean mlpBiased) {
        return layer(s, i, attention, s.mlp(prefix(i) + "mlp.", "hidden_act", "silu", mlpBiased));
    }

    static LayerSpec layer(Sizes s, int i, BodySpec attention, BodySpec feedForward) {
        String p = prefix(i);
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm"), attention),
                BranchSpec.of(s.norm(p + "post_attention_layernorm"), feedForward));
    }

    /// What surrounds the blocks in every model with Llama's names.
    static ModelSpec decoder(Sizes s, Set<String> tensors, IntFunction<LayerSpec> layer) {
        return s.model(s.stack(tensors, layer), input(s), output(s, s.norm("model.norm"), false));
    }

    /// The embedding under Llama's name.
    static ModelSpec.Input input(Sizes s) {
        return ModelSpec.Input.of(EMBEDDING, s.vocabulary(), s.hidden());
    }

    /// The output layer under Llama's name.
    static ModelSpec.Output output(Sizes s, NormSpec norm, boolean tiedByDefault) {
        return ModelSpec.Output.of(
                norm, Sizes.head(s.config(), tiedByDefault, EMBEDDING, "lm_head"));
    }

    /// Two branches, one after another, each with a norm before and one behind.
    static LayerSpec between(
            String p,
            BodySpec attention,
            BodySpec feedForward,
            UnaryOperator<NormSpec> as,
            Sizes s) {
        return LayerSpec.of(
                p,
                BranchSpec.of(
                        as.apply(s.norm(p + "input_layernorm")),
                        attention,
                        as.apply(s.norm(p + "post_attention_layernorm"))),
                BranchSpec.of(
                        as.apply(s.norm(p + "pre_feedforward_layernorm")),
                        feedForward,
                        as.apply(s.norm(p + "post_feedforward_layernorm"))));
    }
}
