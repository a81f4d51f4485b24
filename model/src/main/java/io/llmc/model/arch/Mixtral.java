// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.RopeSpec;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// Mixtral: Llama whose feed-forward is a mixture of experts; w1 is the gate, w3 up, w2 down, and
/// the chosen experts' weights sum to one.
final class Mixtral implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("mixtral");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c);
        RopeSpec rope = RopeSpec.of(c.rope(), s.headDim());
        return Llama.decoder(c, s, i -> layer(c, s, i, rope), false);
    }

    /// Since version 5 the experts of a block are two tensors in transformers.
    @Override
    public Optional<String> module(String linear) {
        return linear.contains(".experts.") ? Optional.empty() : Optional.of(linear);
    }

    private static LayerSpec layer(HfConfig c, Sizes s, int i, RopeSpec rope) {
        String p = "model.layers." + i + ".";
        String moe = p + "block_sparse_moe.";
        List<LayerSpec.Mlp> experts =
                IntStream.range(0, c.integer("num_local_experts"))
                        .mapToObj(e -> expert(c, s, moe + "experts." + e + "."))
                        .toList();
        return new LayerSpec(
                p,
                s.norm(p + "input_layernorm"),
                s.attention(p + "self_attn.", rope, c.integer("sliding_window", 0)),
                null,
                s.norm(p + "post_attention_layernorm"),
                new LayerSpec.Experts(
                        moe + "gate", experts, c.integer("num_experts_per_tok", 2), true),
                null);
    }

    private static LayerSpec.Mlp expert(HfConfig c, Sizes s, String p) {
        return new LayerSpec.Mlp(
                List.of(p + "w1", p + "w3"),
                p + "w2",
                s.intermediate(),
                Sizes.activation(c.text("hidden_act", "silu")),
                true);
    }
}
