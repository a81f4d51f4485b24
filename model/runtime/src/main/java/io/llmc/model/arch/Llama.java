// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;

/// Llama 1 to 3, Mistral, SmolLM and everything else published under these names.
///
/// Mistral's `sliding_window` holds in every layer.
final class Llama implements Architecture {
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
        return s.model(
                s.stack(tensors, layer),
                ModelSpec.Input.of("model.embed_tokens", s.vocabulary(), s.hidden()),
                ModelSpec.Output.of(
                        s.norm("model.norm"),
                        Sizes.head(s.config(), false, "model.embed_tokens", "lm_head")));
    }
}
