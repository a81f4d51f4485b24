// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// StarCoder and SantaCoder: GPT-2 with one key for all heads and weights stored as others store
/// them.
final class GptBigCode implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gpt_bigcode");
    }

    private static final String ROOT = "transformer.";

    @Override
    public String embedding() {
        return ROOT + "wte";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Early e = Early.of(c, "n_embd", "n_layer", "n_head", "n_inner");
        e.requireTensors(tensors, ROOT + "h.");
        return e.model(
                c.integer("n_positions", HfConfig.POSITIONS, 1024),
                e.layers().mapToObj(i -> layer(e, ROOT + "h." + i + ".")).toList(),
                ModelSpec.Input.of(embedding(), e.vocabulary(), e.hidden())
                        .withPositions(ROOT + "wpe", 0),
                ModelSpec.Output.of(
                        NormSpec.layer(ROOT + "ln_f", e.eps()),
                        Sizes.head(c, true, embedding(), "lm_head")));
    }

    private static LayerSpec layer(Early e, String p) {
        HfConfig c = e.config();
        boolean one = c.flag("multi_query", true);
        Heads heads = e.attention(one ? 1 : e.heads());
        Scores scores =
                c.flag("scale_attn_weights", true) ? Scores.of(heads, 0) : new Scores(1, 0, 0);
        SelfAttentionSpec attention =
                new SelfAttentionSpec(
                        // With a key for each head its rows lie by head.
                        Projections.fused(
                                p + "attn.c_attn",
                                one ? RowOrder.BY_PROJECTION : RowOrder.BY_KV_HEAD,
                                true),
                        p + "attn.c_proj",
                        true,
                        heads,
                        scores,
                        null);
        return LayerSpec.of(
                p,
                BranchSpec.of(NormSpec.layer(p + "ln_1", e.eps()), attention),
                BranchSpec.of(
                        NormSpec.layer(p + "ln_2", e.eps()),
                        e.mlp(
                                p + "mlp.c_fc",
                                p + "mlp.c_proj",
                                true,
                                "activation_function",
                                "gelu_pytorch_tanh")));
    }

    /// Causal masks, which old checkpoints have.
    @Override
    public boolean isBuffer(String tensor) {
        return tensor.endsWith(".attn.bias") || tensor.endsWith(".attn.masked_bias");
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
