// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.DoubleNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;
import io.llmc.model.CompressedAttentionSpec;
import io.llmc.model.CompressedAttentionSpec.Choice;
import io.llmc.model.CompressedAttentionSpec.Compression;
import io.llmc.model.CompressedAttentionSpec.Heads;
import io.llmc.model.CompressorSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Attention to keys of several tokens as config.json has it.
///
/// @param kinds of the layers
/// @param window turns of layers that see a window alone
/// @param beyond those of the others
record Compressions(Sizes sizes, Heads heads, List<Kind> kinds, RopeSpec window, RopeSpec beyond) {
    private static final String RATIOS = "compress_ratios";
    private static final String TURNING = "qk_rope_head_dim";
    private static final Range RATIO = Range.zeroTo(1 << 20);

    /// @param rate tokens of a key; 0 where there is a window alone
    /// @param chooses whether a layer sees the best keys alone, which overlap
    private record Kind(int rate, boolean chooses) {}

    static Compressions of(Sizes s) {
        HfConfig c = s.config();
        int groups = c.integer("o_groups", Sizes.HEADS);
        if (s.heads() % groups != 0) {
            throw c.wrong("o_groups", "a number that divides the %d heads".formatted(s.heads()));
        }
        if (s.kvHeads() != 1) {
            throw c.wrong("num_key_value_heads", "1: all heads share one key");
        }
        int narrow = c.integer("o_lora_rank", Sizes.CHANNELS);
        int turning = c.integer(TURNING, Sizes.HEAD_DIM);
        if (turning % 2 != 0) {
            throw c.wrong(TURNING, "an even number: channels turn in pairs");
        }
        return new Compressions(
                s,
                new Heads(s.heads(), s.headDim(), groups, narrow),
                kinds(s),
                new RopeSpec(main(s), turning, true),
                new RopeSpec(beyond(s), turning, true));
    }

    private static boolean byKind(HfConfig c) {
        return c.has("rope_parameters");
    }

    private static RopeConfig main(Sizes s) {
        HfConfig c = s.config();
        return byKind(c)
                ? c.rope("main", s.absent().rope())
                : c.with("rope_scaling", null).rope(s.absent().rope());
    }

    /// Cosines and sines keep their size in published files, however far frequencies are stretched.
    private static RopeConfig beyond(Sizes s) {
        HfConfig c = s.config();
        double theta = c.decimal("compress_rope_theta", Range.above(1, 1e15), 160_000);
        RopeConfig rope =
                byKind(c)
                        ? c.rope("compress", s.absent().rope())
                        : c.with("rope_theta", DoubleNode.valueOf(theta)).rope(s.absent().rope());
        boolean given =
                byKind(c)
                        || c.section("rope_scaling")
                                .filter(scaling -> scaling.has("attention_factor"))
                                .isPresent();
        return rope.scaling() instanceof RopeScaling.Yarn y && !given
                ? new RopeConfig(
                        rope.theta(),
                        rope.partialRotaryFactor(),
                        rope.maxPositions(),
                        new RopeScaling.Yarn(
                                y.factor(),
                                y.betaFast(),
                                y.betaSlow(),
                                1,
                                y.scoreFactor(),
                                y.truncate(),
                                y.originalPositions()))
                : rope;
    }

    /// By ratio in published files, by name where transformers has written them.
    private static List<Kind> kinds(Sizes s) {
        HfConfig c = s.config();
        List<String> types = c.texts("layer_types");
        if (types.isEmpty()) {
            List<Integer> ratios = ratios(c);
            if (ratios.size() < s.layers()) {
                throw c.wrong(RATIOS, "%d numbers, one for each layer".formatted(s.layers()));
            }
            return ratios.stream().limit(s.layers()).map(r -> kind(c, r)).toList();
        }
        Optional<ConfigSection> rates = c.section("compress_rates");
        Map<String, Kind> known =
                Map.of(
                        Sizes.LOCAL,
                        new Kind(0, false),
                        "compressed_sparse_attention",
                        new Kind(rate(rates, "compressed_sparse_attention", 4), true),
                        "heavily_compressed_attention",
                        new Kind(rate(rates, "heavily_compressed_attention", 128), false));
        if (types.size() != s.layers() || !known.keySet().containsAll(types)) {
            throw c.wrong(
                    "layer_types",
                    "%d of %s, one for each layer"
                            .formatted(
                                    s.layers(),
                                    String.join(", ", known.keySet().stream().sorted().toList())));
        }
        return types.stream().map(known::get).toList();
    }

    private static int rate(Optional<ConfigSection> rates, String kind, int absent) {
        return rates.map(r -> r.integer(kind, Range.upTo(1 << 20), absent)).orElse(absent);
    }

    private static List<Integer> ratios(HfConfig c) {
        List<Integer> ratios = c.integers(RATIOS);
        if (!ratios.stream().allMatch(r -> r >= 0 && r <= RATIO.most())) {
            throw c.wrong(RATIOS, "numbers from 0 on");
        }
        return ratios;
    }

    /// Keys of 4 tokens are chosen and overlap; longer ones are all seen.
    private static Kind kind(HfConfig c, int ratio) {
        return switch (ratio) {
            case 0 -> new Kind(0, false);
            case 4 -> new Kind(4, true);
            default -> new Kind(c.integer("compress_rate_hca", Range.upTo(1 << 20), ratio), false);
        };
    }

    CompressedAttentionSpec attention(String prefix, int layer) {
        Kind kind = kinds.get(layer);
        RopeSpec turns = kind.rate() == 0 ? window : beyond;
        return new CompressedAttentionSpec(
                prefix,
                heads,
                sizes.config().integer("q_lora_rank", Sizes.CHANNELS),
                sizes.eps(),
                behind(turns, "head_dim", heads.dim()),
                sizes.config().integer("sliding_window", HfConfig.POSITIONS),
                kind.rate() == 0 ? null : compression(prefix, kind));
    }

    private Compression compression(String prefix, Kind kind) {
        return new Compression(
                compressor(prefix, kind, "head_dim", heads.dim()),
                kind.chooses() ? choice(prefix + "indexer.", kind) : null);
    }

    private Choice choice(String prefix, Kind kind) {
        HfConfig c = sizes.config();
        String size = "index_head_dim";
        return new Choice(
                prefix,
                c.integer("index_n_heads", Sizes.HEADS),
                Math.min(
                        c.integer("index_topk", HfConfig.POSITIONS),
                        Math.max(1, sizes.positions() / kind.rate())),
                compressor(prefix, kind, size, c.integer(size, Sizes.HEAD_DIM)));
    }

    private CompressorSpec compressor(String prefix, Kind kind, String size, int dim) {
        return new CompressorSpec(
                prefix + "compressor.",
                kind.rate(),
                dim,
                kind.chooses(),
                sizes.eps(),
                behind(beyond, size, dim));
    }

    /// The last channels turn, in pairs.
    private RopeSpec behind(RopeSpec turns, String size, int dim) {
        int still = dim - turns.rotated();
        if (still < 0 || still % 2 != 0) {
            throw sizes.config()
                    .wrong(
                            size,
                            "%d, %s, or more by an even number"
                                    .formatted(turns.rotated(), TURNING));
        }
        return still == 0 ? turns : turns.behind(still);
    }
}
