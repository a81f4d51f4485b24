// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// OPT: learned positions behind two rows that nothing reads, ReLUs, biases everywhere; OPT-350m
/// has its norms behind the sums, and an embedding narrower than its blocks.
final class Opt implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("opt");
    }

    private static final String ROOT = "model.decoder.";

    @Override
    public String embedding() {
        return ROOT + "embed_tokens";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Early e = Early.of(c, "hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim");
        e.requireTensors(tensors, ROOT + "layers.");
        boolean before = c.flag("do_layer_norm_before", true);
        int width = c.integer("word_embed_proj_dim", Sizes.CHANNELS, e.hidden());
        boolean projects = width != e.hidden();
        ModelSpec.Input input =
                ModelSpec.Input.of(embedding(), e.vocabulary(), e.hidden())
                        .withPositions(ROOT + "embed_positions", 2);
        NormSpec last =
                before && !c.flag("_remove_final_layer_norm", false)
                        ? norm(e, ROOT + "final_layer_norm")
                        : null;
        ModelSpec.Output output =
                ModelSpec.Output.of(last, Sizes.head(c, true, embedding(), "lm_head"));
        return e.model(
                c.integer("max_position_embeddings", HfConfig.POSITIONS, 2048),
                e.layers().mapToObj(i -> layer(e, ROOT + "layers." + i + ".", before)).toList(),
                projects ? input.projected(ROOT + "project_in", width) : input,
                projects ? output.projected(ROOT + "project_out") : output);
    }

    private static LayerSpec layer(Early e, String p, boolean before) {
        boolean biased = e.config().flag("enable_bias", true);
        String a = p + "self_attn.";
        Heads heads = e.attention(e.heads());
        SelfAttentionSpec attention =
                new SelfAttentionSpec(
                        Projections.apart(a + "q_proj", a + "k_proj", a + "v_proj", biased),
                        a + "out_proj",
                        biased,
                        heads,
                        Scores.of(heads, 0),
                        null);
        MlpSpec mlp = e.mlp(p + "fc1", p + "fc2", biased, "activation_function", "relu");
        NormSpec first = norm(e, p + "self_attn_layer_norm");
        NormSpec second = norm(e, p + "final_layer_norm");
        return before
                ? LayerSpec.of(p, BranchSpec.of(first, attention), BranchSpec.of(second, mlp))
                : LayerSpec.of(
                        p,
                        BranchSpec.of(null, attention).before(first),
                        BranchSpec.of(null, mlp).before(second));
    }

    private static NormSpec norm(Early e, String name) {
        NormSpec norm = NormSpec.layer(name, 1e-5);
        return e.config().flag("layer_norm_elementwise_affine", true) ? norm : norm.plain();
    }

    @Override
    public String key(Size size) {
        return Early.key(
                size, "hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return Early.fixed(size);
    }
}
