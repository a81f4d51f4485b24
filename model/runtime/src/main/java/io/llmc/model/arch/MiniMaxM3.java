// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.TextNode;
import io.llmc.backend.ForwardOp.Clamp;
import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.backend.SparseOp.Choice;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.IndexerSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// MiniMax M3: attention that sees the blocks of keys that an indexer chooses, norm weights stored
/// minus one, a clamped SwiGLU in every feed-forward, experts by corrected sigmoids beside one that
/// every token goes to.
final class MiniMaxM3 implements Architecture {
    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 128, 1e-6, RopeConfig.Defaults.of(5_000_000, 196_608));

    private static final Range BLOCKS = Range.upTo(1 << 16);
    private static final String TYPES = "layer_types";
    private static final String SPARSE = "minimax_m3_sparse";
    private static final String INDEX_HEADS = "index_n_heads";

    @Override
    public List<String> modelTypes() {
        return List.of("minimax_m3_vl_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(spelled(c), ABSENT);
        RopeSpec rope = s.partialRope(MiniMaxM2.turns(s));
        var clamp =
                new Clamp(
                        (float) c.decimal("swiglu_limit", Sizes.CAP, 7),
                        (float) c.decimal("swiglu_alpha", Sizes.CAP, 1.702),
                        1);
        Mixture mixture = Mixture.of(s, 128, 4).with(new Nonlinearity.ClampedSwiGlu(clamp), false);
        List<Boolean> chooses = Hybrid.types(c, TYPES, c.texts(TYPES), s.layers(), SPARSE);
        IntPredicate sparse = Mixture.sparseBehind(s, "first_k_dense_replace", 0);
        NormSpec end = s.norm("model.norm").offsetBy(1);
        return s.model(
                s.stack(
                        tensors,
                        i -> {
                            BodySpec attention = attention(s, i, rope, chooses.get(i));
                            return sparse.test(i)
                                    ? experts(mixture, i, attention, tensors)
                                    : layer(s, i, attention, dense(mixture, i));
                        }),
                Llama.input(s),
                Llama.output(s, end, false));
    }

    /// As other families spell it: the size of a feed-forward is that of the dense ones, and the
    /// activation, which is none of the plain ones, says nothing.
    private static HfConfig spelled(HfConfig c) {
        if (!List.of("swigluoai", "silu").contains(c.text("hidden_act", "silu"))) {
            throw c.wrong("hidden_act", "swigluoai or silu");
        }
        return c.with("hidden_act", TextNode.valueOf("silu"))
                .with("moe_intermediate_size", c.integer("intermediate_size", Sizes.CHANNELS))
                .with("intermediate_size", c.integer("dense_intermediate_size", Sizes.CHANNELS));
    }

    private static BodySpec attention(Sizes s, int i, RopeSpec rope, boolean chooses) {
        float scale = (float) (1 / Math.sqrt(s.headDim()));
        String p = Llama.prefix(i) + "self_attn.";
        SelfAttentionSpec all = s.attentionWithHeadNorms(p, rope, 0, scale, 1);
        return chooses ? all.with(all.scores().choosing(indexer(s, p + "index_", rope))) : all;
    }

    private static IndexerSpec indexer(Sizes s, String p, RopeSpec rope) {
        HfConfig c = s.config();
        int heads = c.integer(INDEX_HEADS, Sizes.HEADS);
        if (s.heads() % heads != 0) {
            throw c.wrong(
                    INDEX_HEADS,
                    "a number that divides %d, num_attention_heads".formatted(s.heads()));
        }
        int block = c.integer("index_block_size", BLOCKS);
        int most = c.integer("index_topk_blocks", BLOCKS);
        int local = c.integer("index_local_blocks", Range.zeroTo(most), 1);
        int dim = c.integer("index_head_dim", Sizes.HEAD_DIM);
        if (rope.rotated() > dim) {
            throw c.wrong("index_head_dim", "at least %d, which turn".formatted(rope.rotated()));
        }
        return new IndexerSpec(
                new IndexerSpec.Layers(
                        p + "q_proj",
                        p + "k_proj",
                        null,
                        s.norm(p + "q_norm").offsetBy(1),
                        s.norm(p + "k_norm").offsetBy(1),
                        null),
                true,
                heads,
                dim,
                new Choice(
                        Math.max(local, Math.min(most, Math.ceilDiv(s.positions(), block))),
                        block,
                        local,
                        false),
                rope,
                0);
    }

    private static LayerSpec layer(Sizes s, int i, BodySpec attention, BodySpec feedForward) {
        String p = Llama.prefix(i);
        return LayerSpec.of(
                p,
                BranchSpec.of(s.norm(p + "input_layernorm").offsetBy(1), attention),
                BranchSpec.of(s.norm(p + "post_attention_layernorm").offsetBy(1), feedForward));
    }

    private static BodySpec dense(Mixture mixture, int i) {
        return mixture.shared(Llama.prefix(i) + "mlp.", mixture.sizes().intermediate())
                .of(Size.INTERMEDIATE, mixture.sizes().intermediate());
    }

    private static LayerSpec experts(
            Mixture mixture, int i, BodySpec attention, Set<String> tensors) {
        HfConfig c = mixture.sizes().config();
        String p = Llama.prefix(i) + "block_sparse_moe.";
        RouterSpec choice =
                RouterSpec.of(Scores.SIGMOID, true)
                        .times((float) c.decimal("routed_scaling_factor", 2));
        BodySpec routed =
                mixture.requireTensors(p + "experts.", tensors)
                        .body(
                                Router.of(p + "gate", choice)
                                        .correctedBy(p + "e_score_correction_bias"),
                                p + "experts.",
                                Mixture.Names.NUMBERED);
        int shared = c.integer("shared_intermediate_size", Sizes.CHANNELS);
        return Mixture.beside(
                layer(mixture.sizes(), i, attention, routed),
                mixture.shared(p + "shared_experts.", shared));
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case INTERMEDIATE -> "dense_intermediate_size";
            case EXPERT_INTERMEDIATE -> "intermediate_size";
            case SHARED_INTERMEDIATE -> "shared_intermediate_size";
            default -> Architecture.super.key(size);
        };
    }
}
