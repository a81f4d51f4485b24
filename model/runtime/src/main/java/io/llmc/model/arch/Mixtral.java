// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ExpertsSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
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

    private static final String EXPERT = "block_sparse_moe.experts.%d.";
    private static final Range EXPERTS = Range.upTo(1 << 16);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(1_000_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        int experts = c.integer("num_local_experts", EXPERTS, 8);
        int topK = c.integer("num_experts_per_tok", EXPERTS, 2);
        if (topK > experts) {
            throw c.wrong(
                    "num_experts_per_tok", "at most %d, num_local_experts".formatted(experts));
        }
        Sizes.requireTensors(
                c, "num_local_experts", Llama.prefix(0) + EXPERT.formatted(experts - 1), tensors);
        return Llama.decoder(s, tensors, i -> layer(s, i, rope, experts, topK));
    }

    /// Since version 5 the experts of a block are two tensors in transformers.
    @Override
    public Optional<String> module(String linear) {
        return linear.contains(".experts.") ? Optional.empty() : Optional.of(linear);
    }

    private static LayerSpec layer(Sizes s, int i, RopeSpec rope, int count, int topK) {
        String p = Llama.prefix(i);
        List<MlpSpec> experts =
                IntStream.range(0, count)
                        .mapToObj(e -> expert(s, p + EXPERT.formatted(e)))
                        .toList();
        return Llama.layer(
                s,
                i,
                s.attention(p + "self_attn.", rope, s.window(0), false),
                new ExpertsSpec(
                        p + "block_sparse_moe.gate", experts, topK, RouterSpec.softmax(true)));
    }

    private static MlpSpec expert(Sizes s, String p) {
        return new MlpSpec(
                List.of(p + "w1", p + "w3"),
                p + "w2",
                false,
                s.intermediate(),
                Sizes.activation(s.config(), "hidden_act", "silu"),
                true);
    }
}
