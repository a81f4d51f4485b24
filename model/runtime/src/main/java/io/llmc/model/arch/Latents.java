// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;
import io.llmc.model.IndexerSpec;
import io.llmc.model.LatentAttentionSpec;
import io.llmc.model.LatentAttentionSpec.Factored;
import io.llmc.model.SelfAttentionSpec.Turns;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;

/// Latent attention as config.json has it.
///
/// @param queryRank 0 where queries are made at once
/// @param eps of the norms of what is narrow
/// @param factors what is narrow is multiplied by the root of how much narrower than the stream it
///   is
record Latents(
        Sizes sizes,
        LatentAttentionSpec.Heads heads,
        int queryRank,
        int rank,
        double eps,
        boolean biased,
        boolean factors,
        float scale,
        Turns turns) {
    /// The keys of what a head has, for people.
    static final String HEAD_KEYS = "qk_nope_head_dim, qk_rope_head_dim, v_head_dim";

    private static final String QUERY_RANK = "q_lora_rank";
    private static final String STILL = "qk_nope_head_dim";
    private static final String TURNING = "qk_rope_head_dim";

    /// What readers take whatever the config says.
    static final double EPS = 1e-6;

    /// With neighbouring pairs that turn.
    static Latents of(Sizes s) {
        HfConfig c = s.config();
        if (!c.flag("rope_interleave", true)) {
            throw c.wrong("rope_interleave", "true: llmc turns neighbouring pairs here");
        }
        int still = c.integer(STILL, Sizes.HEAD_DIM);
        int turning = c.integer(TURNING, Sizes.HEAD_DIM);
        RopeConfig config = c.rope(Sizes.GLOBAL, s.absent().rope());
        requireEven(c, STILL, still);
        requireEven(c, TURNING, turning);
        RopeSpec rope = new RopeSpec(config, turning, true);
        double factor = config.scaling() instanceof RopeScaling.Yarn y ? y.scoreFactor() : 1;
        return still(s, turning).turning(new Turns(rope.behind(still), rope)).times(factor);
    }

    /// Where nothing turns.
    ///
    /// @param turning channels of keys that all heads share all the same
    static Latents still(Sizes s, int turning) {
        HfConfig c = s.config();
        var heads =
                new LatentAttentionSpec.Heads(
                        s.heads(),
                        c.integer(STILL, Sizes.HEAD_DIM),
                        turning,
                        c.integer("v_head_dim", Sizes.HEAD_DIM));
        return new Latents(
                s,
                heads,
                c.has(QUERY_RANK) ? c.integer(QUERY_RANK, Sizes.CHANNELS) : 0,
                c.integer("kv_lora_rank", Sizes.CHANNELS),
                EPS,
                c.flag("attention_bias", false),
                false,
                (float) (1 / Math.sqrt(heads.dim())),
                null);
    }

    private static void requireEven(HfConfig c, String key, int channels) {
        if (channels % 2 != 0) {
            throw c.wrong(key, "an even number: channels turn in pairs");
        }
    }

    private Latents turning(Turns other) {
        return new Latents(sizes, heads, queryRank, rank, eps, biased, factors, scale, other);
    }

    private Latents times(double factor) {
        float other = (float) (scale * factor);
        return new Latents(sizes, heads, queryRank, rank, eps, biased, factors, other, turns);
    }

    /// Whose norms have an eps of their own.
    Latents withEps(double other) {
        return new Latents(sizes, heads, queryRank, rank, other, biased, factors, scale, turns);
    }

    /// As LongCat-Flash does, where config.json does not say otherwise.
    Latents withFactors() {
        return new Latents(sizes, heads, queryRank, rank, eps, biased, true, scale, turns);
    }

    /// Under the names that all published models have.
    LatentAttentionSpec attention(String prefix) {
        Factored queries =
                queryRank == 0
                        ? Factored.whole(prefix + "q_proj")
                        : Factored.of(
                                prefix + "q_a_proj",
                                norm(prefix + "q_a_layernorm"),
                                prefix + "q_b_proj",
                                queryRank);
        Factored latents =
                Factored.of(
                        prefix + "kv_a_proj_with_mqa",
                        norm(prefix + "kv_a_layernorm"),
                        prefix + "kv_b_proj",
                        rank);
        if (factors) {
            queries = queries.times(factor("mla_scale_q_lora", queryRank));
            latents = latents.times(factor("mla_scale_kv_lora", rank));
        }
        return new LatentAttentionSpec(
                queries, latents, prefix + "o_proj", biased, heads, scale, turns, null);
    }

    private double factor(String key, int rank) {
        boolean applies = rank > 0 && sizes.config().flag(key, true);
        return applies ? Math.sqrt((double) sizes.hidden() / rank) : 1;
    }

    private NormSpec norm(String name) {
        return NormSpec.rms(name, eps);
    }

    /// The layers of an indexer under the names that DeepSeek gave them.
    ///
    /// @param p what they begin with
    static IndexerSpec.Layers indexer(String p) {
        return new IndexerSpec.Layers(
                p + "wq_b",
                p + "wk",
                p + "weights_proj",
                null,
                NormSpec.layer(p + "k_norm", EPS),
                null);
    }
}
