// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Alibi;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// BLOOM: ALiBi, a LayerNorm behind the embedding, and q, k and v of each head in one layer.
final class Bloom implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("bloom");
    }

    @Override
    public String embedding() {
        return Early.ROOT + "word_embeddings";
    }

    @Override
    public ModelSpec spec(HfConfig config, Set<String> tensors) {
        HfConfig c = modern(config);
        if (c.flag("apply_residual_connection_post_layernorm", false)) {
            throw c.wrong("apply_residual_connection_post_layernorm", "false");
        }
        Early e =
                Early.of(
                        c,
                        c.has("n_embed") ? "n_embed" : "hidden_size",
                        "n_layer",
                        c.has("n_head") ? "n_head" : "num_attention_heads",
                        "n_inner");
        return e.decoder(
                c.integer("seq_length", HfConfig.POSITIONS, 2048),
                e.input(embedding()).with(NormSpec.layer(embedding() + "_layernorm", e.eps())),
                tensors,
                i -> layer(e, Early.prefix(i)));
    }

    @Override
    public HfConfig modern(HfConfig c) {
        return c.renamed("num_hidden_layers", "n_layer");
    }

    private static LayerSpec layer(Early e, String p) {
        Heads heads = e.attention(e.heads());
        SelfAttentionSpec attention =
                Early.attention(
                        p + "self_attention.",
                        RowOrder.BY_KV_HEAD,
                        true,
                        heads,
                        Scores.of(heads, 0).with(Alibi.BLOOM),
                        null);
        return LayerSpec.of(
                p,
                BranchSpec.of(NormSpec.layer(p + "input_layernorm", e.eps()), attention),
                BranchSpec.of(
                        NormSpec.layer(p + "post_attention_layernorm", e.eps()),
                        e.mlp(p, true, "", "gelu_new")));
    }

    @Override
    public String key(Size size) {
        return Early.key(size, "hidden_size", "n_layer", "n_head", "n_inner");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return Early.fixed(size);
    }
}
