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
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// GPT-NeoX, Pythia: attention and MLP side by side on the block's input, each with a LayerNorm of
/// its own; q, k and v of each head in one layer; a part of each head turns.
final class GptNeoX implements Architecture {
    private static final String ROOT = "gpt_neox.";
    private static final String HEADS = "num_attention_heads";
    private static final String PART = "rotary_pct";

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 2048));

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
        Sizes s = sizes(c);
        RopeSpec rope = s.partialRope(c.rope(ABSENT.rope()));
        Sizes.requireTensors(c, "num_hidden_layers", prefix(s.layers() - 1), tensors);
        return s.model(
                IntStream.range(0, s.layers()).mapToObj(i -> layer(s, prefix(i), rope)).toList(),
                ModelSpec.Input.of(ROOT + "embed_in", s.vocabulary(), s.hidden()),
                ModelSpec.Output.of(
                        NormSpec.layer(ROOT + "final_layer_norm", s.eps()),
                        Sizes.head(c, false, ROOT + "embed_in", "embed_out")));
    }

    private static Sizes sizes(HfConfig c) {
        int hidden = c.integer("hidden_size", Sizes.CHANNELS);
        int heads = c.integer(HEADS, Sizes.HEADS);
        if (hidden % heads != 0) {
            throw c.wrong(HEADS, "a number that divides %d, hidden_size".formatted(hidden));
        }
        return new Sizes(
                c,
                hidden,
                c.integer("vocab_size", Sizes.VOCABULARY),
                c.integer("num_hidden_layers", Sizes.LAYERS),
                heads,
                heads,
                hidden / heads,
                c.integer("intermediate_size", Sizes.CHANNELS),
                c.decimal("layer_norm_eps", Sizes.EPS, ABSENT.eps()),
                ABSENT);
    }

    private static String prefix(int i) {
        return ROOT + "layers." + i + ".";
    }

    private static LayerSpec layer(Sizes s, String p, RopeSpec rope) {
        HfConfig c = s.config();
        boolean biased = c.flag("attention_bias", true);
        SelfAttentionSpec.Heads heads =
                new SelfAttentionSpec.Heads(s.heads(), s.heads(), s.headDim());
        SelfAttentionSpec attention =
                new SelfAttentionSpec(
                        SelfAttentionSpec.Projections.fused(
                                p + "attention.query_key_value", RowOrder.BY_KV_HEAD, biased),
                        p + "attention.dense",
                        biased,
                        heads,
                        SelfAttentionSpec.Scores.of(heads, 0),
                        rope);
        MlpSpec mlp =
                new MlpSpec(
                        List.of(p + "mlp.dense_h_to_4h"),
                        p + "mlp.dense_4h_to_h",
                        true,
                        s.intermediate(),
                        Sizes.activation(c, "hidden_act", "gelu"),
                        false);
        NormSpec before = NormSpec.layer(p + "input_layernorm", s.eps());
        NormSpec between = NormSpec.layer(p + "post_attention_layernorm", s.eps());
        BranchSpec second = BranchSpec.of(between, mlp);
        boolean parallel = c.flag("use_parallel_residual", true);
        return LayerSpec.of(
                p, BranchSpec.of(before, attention), parallel ? second.beside() : second);
    }

    /// Causal masks, which old checkpoints have, and the bases of the rotation.
    @Override
    public boolean isBuffer(String tensor) {
        return tensor.endsWith(".attention.bias")
                || tensor.endsWith(".attention.masked_bias")
                || Architecture.super.isBuffer(tensor);
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
