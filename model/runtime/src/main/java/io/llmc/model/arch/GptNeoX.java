// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.DoubleNode;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
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

/// GPT-NeoX, Pythia: attention and MLP side by side on the block's input, each with a LayerNorm of
/// its own; q, k and v of each head in one layer; a part of each head turns.
final class GptNeoX implements Architecture {
    private static final String ROOT = "gpt_neox.";
    private static final String HEADS = "num_attention_heads";
    private static final String PART = "rotary_pct";

    @Override
    public List<String> modelTypes() {
        return List.of("gpt_neox");
    }

    @Override
    public String embedding() {
        return ROOT + "embed_in";
    }

    @Override
    public String head() {
        return "embed_out";
    }

    @Override
    public ModelSpec spec(HfConfig given, Set<String> tensors) {
        HfConfig c = given.has(PART) ? given : given.with(PART, DoubleNode.valueOf(0.25));
        Early e = Early.of(c.renamed("layer_norm_eps", "layer_norm_epsilon"), "intermediate_size");
        RopeConfig turns = c.rope(RopeConfig.Defaults.of(10_000, 2048));
        RopeSpec rope = Sizes.partialRope(turns, e.headDim());
        String blocks = ROOT + "layers.";
        e.requireTensors(tensors, blocks);
        return e.model(
                turns.maxPositions(),
                e.layers().mapToObj(i -> layer(e, blocks + i + ".", rope)).toList(),
                e.input(embedding()),
                ModelSpec.Output.of(
                        NormSpec.layer(ROOT + "final_layer_norm", e.eps()),
                        Sizes.head(c, false, embedding(), head())));
    }

    private static LayerSpec layer(Early e, String p, RopeSpec rope) {
        HfConfig c = e.config();
        Heads heads = e.attention(e.heads());
        SelfAttentionSpec attention =
                Early.attention(
                        p + "attention.",
                        RowOrder.BY_KV_HEAD,
                        c.flag("attention_bias", true),
                        heads,
                        Scores.of(heads, 0),
                        rope);
        MlpSpec mlp = e.mlp(p, true, "hidden_act", "gelu");
        NormSpec before = NormSpec.layer(p + "input_layernorm", e.eps());
        NormSpec between = NormSpec.layer(p + "post_attention_layernorm", e.eps());
        BranchSpec second = BranchSpec.of(between, mlp);
        boolean parallel = c.flag("use_parallel_residual", true);
        return LayerSpec.of(
                p, BranchSpec.of(before, attention), parallel ? second.beside() : second);
    }

    /// Causal masks, which old checkpoints have, and the bases of the rotation.
    @Override
    public boolean isBuffer(String tensor) {
        return Early.isMask(tensor) || Architecture.super.isBuffer(tensor);
    }

    @Override
    public String key(Size size) {
        return Architecture.super.key(size == Size.KV_HEADS ? Size.HEADS : size);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return switch (size) {
            case HIDDEN, HEADS, KV_HEADS ->
                    Optional.of("its readers take the size of a head to be hidden_size / " + HEADS);
            case LAYERS, INTERMEDIATE -> Optional.empty();
            default -> Optional.of("it has none");
        };
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config; // no such key
    }
}
