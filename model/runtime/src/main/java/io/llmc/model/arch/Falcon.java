// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Alibi;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Falcon in its three forms: one key for all heads (7B), groups of heads with two norms side by
/// side (40B), ALiBi and biases, one branch after another (RW).
final class Falcon implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("falcon");
    }

    @Override
    public String embedding() {
        return Early.ROOT + "word_embeddings";
    }

    @Override
    public ModelSpec spec(HfConfig config, Set<String> tensors) {
        HfConfig c = modern(config);
        Early e = Early.of(c, "ffn_hidden_size");
        RopeConfig turns = c.rope(RopeConfig.Defaults.of(10_000, 2048));
        RopeSpec rope = c.flag("alibi", false) ? null : new RopeSpec(turns, e.headDim(), false);
        return e.decoder(
                turns.maxPositions(),
                e.input(embedding()),
                tensors,
                i -> layer(e, Early.prefix(i), rope));
    }

    /// The first configs counted layers and heads under other keys, which transformers 5 does not
    /// read.
    @Override
    public HfConfig modern(HfConfig c) {
        return c.renamed("n_layer", "num_hidden_layers").renamed("n_head", "num_attention_heads");
    }

    private static LayerSpec layer(Early e, String p, RopeSpec rope) {
        HfConfig c = e.config();
        boolean grouped = c.flag("new_decoder_architecture", false);
        boolean biased = c.flag("bias", false);
        Heads heads = e.attention(keys(e, grouped));
        boolean one = !grouped && c.flag("multi_query", true);
        SelfAttentionSpec attention =
                Early.attention(
                        p + "self_attention.",
                        one ? RowOrder.BY_PROJECTION : RowOrder.BY_KV_HEAD,
                        biased,
                        heads,
                        rope == null ? Scores.of(heads, 0).with(Alibi.FALCON) : Scores.of(heads, 0),
                        rope);
        MlpSpec mlp = e.mlp(p, biased, "activation", "gelu");
        NormSpec before = NormSpec.layer(p + "input_layernorm", e.eps());
        if (grouped && twoNorms(c)) {
            return LayerSpec.of(
                    p,
                    BranchSpec.of(NormSpec.layer(p + "ln_attn", e.eps()), attention),
                    BranchSpec.of(NormSpec.layer(p + "ln_mlp", e.eps()), mlp).beside());
        }
        boolean parallel = grouped || c.flag("parallel_attn", true);
        return LayerSpec.of(
                p,
                BranchSpec.of(before, attention),
                parallel
                        ? BranchSpec.of(before, mlp).beside()
                        : BranchSpec.of(
                                NormSpec.layer(p + "post_attention_layernorm", e.eps()), mlp));
    }

    private static boolean twoNorms(HfConfig c) {
        String key = "num_ln_in_parallel_attn";
        return !c.has(key) || c.integer(key, new Range(1, 2, false)) == 2;
    }

    /// A model with one key for all says so in `multi_query` alone: `num_kv_heads` is then of no
    /// meaning.
    private static int keys(Early e, boolean grouped) {
        if (grouped) {
            return e.config().has("num_kv_heads")
                    ? e.config().integer("num_kv_heads", Sizes.HEADS)
                    : e.heads();
        }
        return e.config().flag("multi_query", true) ? 1 : e.heads();
    }

    @Override
    public String key(Size size) {
        return Early.key(
                size, "hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_hidden_size");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return Early.fixed(size);
    }
}
