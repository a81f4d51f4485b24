// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.SparseOp;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.IndexerSpec;
import io.llmc.model.LatentAttentionSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.RowSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntPredicate;

/// GLM 5: DeepSeek V3 whose attention sees the keys that an indexer chooses; some blocks take the
/// choice of the block before.
final class GlmMoeDsa implements Architecture {
    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 202_752));
    private static final Range COUNT = Range.upTo(1 << 16);
    private static final DeepSeek FAMILY = new DeepSeek();

    @Override
    public List<String> modelTypes() {
        return List.of("glm_moe_dsa");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        Latents latents = Latents.of(s);
        IntPredicate sparse = DeepSeek.sparse(c);
        IntPredicate own = own(s);
        int most = Math.min(c.integer("index_topk", HfConfig.POSITIONS), s.positions());
        Mixture mixture = Mixture.of(s, 256, 8);
        return Llama.decoder(
                        s,
                        tensors,
                        i -> {
                            LatentAttentionSpec attention =
                                    latents.attention(Llama.prefix(i) + "self_attn.")
                                            .choosing(indexer(s, i, own.test(i), most));
                            return sparse.test(i)
                                    ? DeepSeek.sparse(mixture, i, attention, tensors)
                                    : Llama.layer(s, i, attention);
                        })
                .with(new RowSpec(1, most, null));
    }

    private static IndexerSpec indexer(Sizes s, int i, boolean own, int most) {
        HfConfig c = s.config();
        int turning = c.integer("qk_rope_head_dim", Sizes.HEAD_DIM);
        RopeSpec rope =
                new RopeSpec(
                        c.rope(Sizes.GLOBAL, ABSENT.rope()),
                        turning,
                        c.flag("indexer_rope_interleave", true));
        int dim = c.integer("index_head_dim", Sizes.HEAD_DIM);
        if (turning > dim) {
            throw c.wrong("index_head_dim", "at least %d, qk_rope_head_dim".formatted(turning));
        }
        return new IndexerSpec(
                Latents.indexer(Llama.prefix(i) + "self_attn.indexer."),
                own,
                c.integer("index_n_heads", Sizes.HEADS),
                dim,
                SparseOp.Choice.of(most),
                rope,
                s.hidden());
    }

    /// Which layers choose for themselves.
    private static IntPredicate own(Sizes s) {
        HfConfig c = s.config();
        List<String> types = c.texts("indexer_types");
        String pattern = c.text("index_topk_pattern", "");
        IntPredicate own;
        if (!types.isEmpty()) {
            own = i -> i < types.size() && types.get(i).equals("full");
        } else if (!pattern.isEmpty()) {
            own = i -> i < pattern.length() && pattern.charAt(i) == 'F';
        } else {
            int step = c.integer("index_topk_freq", COUNT, 1);
            int offset = c.integer("index_skip_topk_offset", Range.zeroTo(1 << 16), 2);
            own = i -> Math.max(i - offset + 1, 0) % step == 0;
        }
        if (!own.test(0)) {
            throw c.wrong(
                    types.isEmpty() ? "index_topk_pattern" : "indexer_types",
                    "a first layer that chooses for itself");
        }
        return own;
    }

    @Override
    public String key(Size size) {
        return FAMILY.key(size);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.LAYERS
                ? Optional.of("some of its layers take the choice of keys of the one before")
                : FAMILY.fixed(size, config);
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config;
    }
}
