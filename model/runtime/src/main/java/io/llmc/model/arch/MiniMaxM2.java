// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.HeadNorms;
import io.llmc.model.SelfAttentionSpec.Over;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// MiniMax M2 to M2.7: norms over all queries and all keys, a part of each head turns, experts by
/// corrected sigmoids.
final class MiniMaxM2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("minimax_m2");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-6, RopeConfig.Defaults.of(5_000_000, 196_608));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.partialRope(turns(s));
        Mixture mixture = Mixture.of(s, 256, 8).requireTensors(experts(0), tensors);
        return Llama.decoder(s, tensors, i -> layer(mixture, i, rope));
    }

    /// Published files count the dimensions that turn; where they are given as a part of a head,
    /// too, that counts.
    static RopeConfig turns(Sizes s) {
        HfConfig c = s.config();
        RopeConfig rope = c.rope(s.absent().rope());
        String part = "partial_rotary_factor";
        boolean given =
                c.has(part) || c.section("rope_parameters").filter(r -> r.has(part)).isPresent();
        if (given || !c.has("rotary_dim")) {
            return rope;
        }
        int rotated = c.integer("rotary_dim", Range.upTo(s.headDim()));
        return new RopeConfig(
                rope.theta(), (double) rotated / s.headDim(), rope.maxPositions(), rope.scaling());
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "block_sparse_moe.experts.";
    }

    private static LayerSpec layer(Mixture mixture, int i, RopeSpec rope) {
        Sizes s = mixture.sizes();
        String p = Llama.prefix(i);
        String a = p + "self_attn.";
        String moe = p + "block_sparse_moe.";
        return Llama.layer(
                s,
                i,
                s.attention(a, rope, 0, false)
                        .with(
                                HeadNorms.of(s.norm(a + "q_norm"), s.norm(a + "k_norm"))
                                        .over(Over.PROJECTION)),
                mixture.body(
                        Router.of(moe + "gate", RouterSpec.of(Scores.SIGMOID, true))
                                .correctedBy(moe + "e_score_correction_bias"),
                        experts(i),
                        Mixture.Names.NUMBERED));
    }
}
