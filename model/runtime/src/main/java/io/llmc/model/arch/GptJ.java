// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// GPT-J: attention and feed-forward side by side behind one LayerNorm; pairs of neighbours turn in
/// a part of each head.
final class GptJ implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gptj");
    }

    @Override
    public String embedding() {
        return "transformer.wte";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Early e = Early.of(c, "n_embd", "n_layer", "n_head", "n_inner");
        e.requireTensors(tensors, "transformer.h.");
        int positions = c.integer("n_positions", HfConfig.POSITIONS, 2048);
        int rotated = c.has("rotary_dim") ? c.integer("rotary_dim", Sizes.HEAD_DIM) : e.headDim();
        if (rotated % 2 != 0 || rotated > e.headDim()) {
            throw c.wrong("rotary_dim", "an even number up to %d".formatted(e.headDim()));
        }
        RopeSpec rope =
                new RopeSpec(
                        new RopeConfig(10_000, 1, positions, new RopeScaling.None()),
                        rotated,
                        true);
        return e.model(
                positions,
                e.layers().mapToObj(i -> layer(e, Early.prefix(i), rope)).toList(),
                e.input(embedding()),
                ModelSpec.Output.of(
                                NormSpec.layer("transformer.ln_f", e.eps()),
                                Sizes.head(c, false, embedding(), "lm_head"))
                        .withBias());
    }

    private static LayerSpec layer(Early e, String p, RopeSpec rope) {
        SelfAttentionSpec attention =
                new SelfAttentionSpec(
                        Projections.apart(
                                p + "attn.q_proj", p + "attn.k_proj", p + "attn.v_proj", false),
                        p + "attn.out_proj",
                        false,
                        e.attention(e.heads()),
                        Scores.of(e.attention(e.heads()), 0),
                        rope);
        NormSpec before = NormSpec.layer(p + "ln_1", e.eps());
        return LayerSpec.of(
                p,
                BranchSpec.of(before, attention),
                BranchSpec.of(
                                before,
                                e.mlp(
                                        p + "mlp.fc_in",
                                        p + "mlp.fc_out",
                                        true,
                                        "activation_function",
                                        "gelu_new"))
                        .beside());
    }

    /// Causal masks, which old checkpoints have.
    @Override
    public boolean isBuffer(String tensor) {
        return Early.isMask(tensor) || Architecture.super.isBuffer(tensor);
    }

    @Override
    public String key(Size size) {
        return Early.key(size, "n_embd", "n_layer", "n_head", "n_inner");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return Early.fixed(size);
    }
}
