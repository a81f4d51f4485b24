// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.model.Alibi;
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

/// MPT: ALiBi, LayerNorms and layers without biases, q, k and v in one layer, clipped.
final class Mpt implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("mpt");
    }

    private static final String ROOT = "transformer.";

    @Override
    public String embedding() {
        return ROOT + "wte";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        ConfigSection attention =
                c.section("attn_config").orElseThrow(() -> c.wrong("attn_config", "an object"));
        if (!attention.flag("alibi", true) || attention.flag("qk_ln", false)) {
            throw c.wrong("attn_config", "alibi and no qk_ln, as transformers reads this family");
        }
        Early e = Early.of(c, "d_model", "n_layers", "n_heads", "");
        e.requireTensors(tensors, ROOT + "blocks.");
        int intermediate = e.hidden() * c.integer("expansion_ratio", Range.upTo(64), 4);
        return e.model(
                c.integer("max_seq_len", HfConfig.POSITIONS, 2048),
                e.layers()
                        .mapToObj(i ->
                                layer(e.of(intermediate), ROOT + "blocks." + i + ".", attention))
                        .toList(),
                ModelSpec.Input.of(embedding(), e.vocabulary(), e.hidden()),
                ModelSpec.Output.of(
                        norm(e, ROOT + "norm_f"), Sizes.head(c, true, embedding(), "lm_head")));
    }

    private static LayerSpec layer(Early e, String p, ConfigSection config) {
        Heads heads = e.attention(e.heads());
        Scores scores = Scores.of(heads, 0);
        if (config.has("softmax_scale")) {
            scores = new Scores((float) config.decimal("softmax_scale", Range.above(0, 1e6)), 0, 0);
        }
        float clip = config.has("clip_qkv") ? (float) config.decimal("clip_qkv", Sizes.CAP) : 0;
        SelfAttentionSpec attention =
                new SelfAttentionSpec(
                        Projections.fused(p + "attn.Wqkv", RowOrder.BY_PROJECTION, false)
                                .clippedAt(clip),
                        p + "attn.out_proj",
                        false,
                        heads,
                        scores.with(Alibi.MPT),
                        null);
        return LayerSpec.of(
                p,
                BranchSpec.of(norm(e, p + "norm_1"), attention),
                BranchSpec.of(
                        norm(e, p + "norm_2"),
                        e.mlp(p + "ffn.up_proj", p + "ffn.down_proj", false, "", "gelu")));
    }

    private static NormSpec norm(Early e, String name) {
        return NormSpec.layer(name, e.eps()).withoutBias();
    }

    @Override
    public String key(Size size) {
        return Early.key(size, "d_model", "n_layers", "n_heads", "expansion_ratio");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return size == Size.INTERMEDIATE
                ? Optional.of("it is a whole multiple of d_model")
                : Early.fixed(size);
    }
}
