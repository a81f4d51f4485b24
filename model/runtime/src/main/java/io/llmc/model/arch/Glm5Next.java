// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Clamp;
import io.llmc.backend.SparseOp.Choice;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.DeltaNetSpec;
import io.llmc.model.HyperConnectionsSpec;
import io.llmc.model.IndexerSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.structure.RowSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntPredicate;

/// GLM 5.3: Kimi's delta rule with a bounded decay, in some layers latent attention, in which
/// nothing turns, to the blocks of keys that an indexer chooses; hyper-connections; a clamped
/// SwiGLU in every feed-forward.
final class Glm5Next implements Architecture {
    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(0, 0, 1e-5, RopeConfig.Defaults.of(10_000, 202_752));

    private static final Range COUNT = Range.upTo(1 << 16);
    private static final String TYPES = "layer_types";
    private static final String LINEAR = "linear_attention";
    private static final String INDEXED = "indexed_attention";
    private static final DeepSeek FAMILY = new DeepSeek();

    @Override
    public List<String> modelTypes() {
        return List.of("glm5_next_text");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        // Readers write 0: a head has several sizes.
        Sizes s =
                Sizes.of(c.with("head_dim", c.integer("qk_nope_head_dim", Sizes.HEAD_DIM)), ABSENT);
        requireWholeIndexers(c);
        List<String> types = c.texts(TYPES);
        if (types.size() != s.layers() || !List.of(LINEAR, INDEXED).containsAll(types)) {
            throw c.wrong(
                    TYPES,
                    "%d of %s and %s, one for each layer".formatted(s.layers(), LINEAR, INDEXED));
        }
        var clamp = new Clamp((float) c.decimal("swiglu_limit", Sizes.CAP, 7), 1, 0);
        Nonlinearity swiglu = new Nonlinearity.ClampedSwiGlu(clamp);
        Latents latents = Latents.still(s, 0).withEps(s.eps());
        Mixture mixture = Mixture.of(s, 256, 8).with(swiglu, false);
        IntPredicate sparse = DeepSeek.sparse(c);
        int streams = c.integer("hc_mult", Range.upTo(64), 4);
        return Llama.decoder(
                        s,
                        tensors,
                        i -> {
                            String p = Llama.prefix(i);
                            String a = p + "self_attn.";
                            BodySpec mixer =
                                    types.get(i).equals(LINEAR)
                                            ? delta(s, a)
                                            : latents.attention(a).choosing(indexer(s, a));
                            LayerSpec layer =
                                    sparse.test(i)
                                            ? DeepSeek.sparse(mixture, i, mixer, tensors)
                                            : Llama.layer(
                                                    s,
                                                    i,
                                                    mixer,
                                                    s.mlp(p + "mlp.", "hidden_act", "silu", false)
                                                            .with(swiglu));
                            return layer.connectedBy(connections(s, p, streams));
                        })
                .with(new RowSpec(1 + streams, 0, null, new RowSpec.Ends.Mean(), 0));
    }

    private static void requireWholeIndexers(HfConfig c) {
        if (!c.flag("index_kpool_always_select_tail", true)) {
            throw c.wrong("index_kpool_always_select_tail", "true: llmc shows unfinished blocks");
        }
        if (!List.of("full").containsAll(c.texts("indexer_types"))) {
            throw c.wrong("indexer_types", "full alone: each layer chooses for itself here");
        }
        if (c.integer("qk_rope_head_dim", Range.zeroTo(1 << 14), 0) != 0) {
            throw c.wrong("qk_rope_head_dim", "0: nothing turns here");
        }
    }

    private static DeltaNetSpec delta(Sizes s, String p) {
        DeltaNetSpec plain = KimiDeltas.body(s, p);
        double bound = s.config().decimal("linear_lower_bound", new Range(-1000, 0, true), -5);
        return plain.with(
                new DeltaNetSpec.Decay(
                        p + "A_log",
                        new Shape(plain.heads().values()),
                        p + "dt_bias",
                        (float) bound));
    }

    private static IndexerSpec indexer(Sizes s, String attention) {
        HfConfig c = s.config();
        String p = attention + "indexer.";
        int block = c.integer("index_kpool", COUNT);
        int keys = c.integer("index_topk", HfConfig.POSITIONS);
        if (keys % block != 0) {
            throw c.wrong("index_topk", "a multiple of %d, index_kpool".formatted(block));
        }
        int most = Math.min(keys / block, Math.ceilDiv(s.positions(), block));
        String pool = p + "index_kpool_compress_";
        return new IndexerSpec(
                Latents.indexer(p)
                        .pooledBy(new IndexerSpec.Pool(pool + "gate", pool + "ape", s.hidden())),
                true,
                c.integer("index_n_heads", Sizes.HEADS),
                c.integer("index_head_dim", Sizes.HEAD_DIM),
                new Choice(most, block, 0, true),
                null,
                0);
    }

    private static HyperConnectionsSpec connections(Sizes s, String p, int streams) {
        HfConfig c = s.config();
        return new HyperConnectionsSpec(
                List.of(p + "hc_attn_", p + "hc_ffn_"),
                streams,
                s.hidden(),
                s.eps(),
                c.integer("hc_sinkhorn_iters", Range.upTo(1000), 20),
                c.decimal("hc_eps", Sizes.EPS, 1e-6));
    }

    @Override
    public String key(Size size) {
        return FAMILY.key(size);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return FAMILY.fixed(size, config);
    }

    /// A head has several sizes, which are written out always.
    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config;
    }
}
