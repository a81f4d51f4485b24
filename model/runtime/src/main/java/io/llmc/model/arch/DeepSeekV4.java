// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Clamp;
import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.HyperConnectionsSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RowSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// DeepSeek V4 (2026): several streams, attention to a window and to keys of several tokens, and
/// experts, which a table of tokens chooses in the first blocks.
final class DeepSeekV4 implements Architecture {
    private static final DeepSeek FAMILY = new DeepSeek();
    private static final Range STREAMS = Range.upTo(64);
    private static final Range ROUNDS = Range.upTo(1000);

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(1, 0, 1e-6, RopeConfig.Defaults.of(10_000, 1_048_576));

    @Override
    public List<String> modelTypes() {
        return List.of("deepseek_v4");
    }

    @Override
    public String embedding() {
        return "embed";
    }

    @Override
    public String head() {
        return "head";
    }

    /// All feed-forwards are experts, so that there is no other size of one.
    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Mixture mixture = mixture(Sizes.of(c.with("intermediate_size", 1), ABSENT));
        Sizes s = mixture.sizes();
        String last = prefix(s.layers() - 1);
        Sizes.requireTensors(c, key(Size.LAYERS), last, tensors);
        mixture.requireTensors(last + "ffn.experts.", tensors);
        Compressions attentions = Compressions.of(s);
        int streams = c.integer("hc_mult", STREAMS);
        double eps = c.decimal("hc_eps", Sizes.EPS, 1e-6);
        int hashed = hashed(s);
        List<LayerSpec> layers =
                IntStream.range(0, s.layers())
                        .mapToObj(i ->
                                layer(mixture, i, attentions, (1 + streams) * s.hidden(), hashed)
                                        .connectedBy(connections(s, i, streams, eps)))
                        .toList();
        var end = new RowSpec.Ends.Weighted("hc_head_", s.eps(), eps);
        return s.model(
                        layers,
                        ModelSpec.Input.of(embedding(), s.vocabulary(), s.hidden()),
                        ModelSpec.Output.of(
                                s.norm("norm"), Sizes.head(c, false, embedding(), head())))
                .with(new RowSpec(1 + streams, 1, null, end, (1 + streams) * s.hidden()));
    }

    private static String prefix(int layer) {
        return "layers." + layer + ".";
    }

    private static HyperConnectionsSpec connections(Sizes s, int i, int streams, double eps) {
        int rounds = s.config().integer("hc_sinkhorn_iters", ROUNDS);
        List<String> prefixes = List.of(prefix(i) + "hc_attn_", prefix(i) + "hc_ffn_");
        return new HyperConnectionsSpec(prefixes, streams, s.hidden(), s.eps(), rounds, eps);
    }

    private static Mixture mixture(Sizes s) {
        double limit = s.config().decimal("swiglu_limit", Sizes.CAP, 10);
        return Mixture.of(s, 256, 6)
                .with(new Nonlinearity.ClampedSwiGlu(new Clamp((float) limit, 1, 0)), false);
    }

    /// The first blocks whose experts a table chooses.
    private static int hashed(Sizes s) {
        List<String> types = s.config().texts("mlp_layer_types");
        if (types.isEmpty()) {
            return s.config().integer("num_hash_layers", Range.zeroTo(s.layers()), 0);
        }
        int first = (int) types.stream().takeWhile("hash_moe"::equals).count();
        if (types.size() != s.layers() || !types.stream().skip(first).allMatch("moe"::equals)) {
            throw s.config()
                    .wrong(
                            "mlp_layer_types",
                            "%d of hash_moe, then moe, one for each layer".formatted(s.layers()));
        }
        return first;
    }

    /// @param token column of a token's number in rows
    private static LayerSpec layer(
            Mixture mixture, int i, Compressions attentions, int token, int hashed) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String ffn = prefix(i) + "ffn.";
        if (!c.text("scoring_func", "sqrtsoftplus").equals("sqrtsoftplus")) {
            throw c.wrong("scoring_func", "sqrtsoftplus");
        }
        RouterSpec choice =
                RouterSpec.of(Scores.SQRT_SOFTPLUS, c.flag("norm_topk_prob", true))
                        .times((float) c.decimal("routed_scaling_factor", 1));
        Router router = Router.of(ffn + "gate", choice);
        router =
                i < hashed
                        ? router.choosingBy(
                                new Router.Table(
                                        ffn + "gate.tid2eid",
                                        s.vocabulary(),
                                        mixture.topK(),
                                        token))
                        : router.correctedBy(ffn + "gate.bias");
        int shared = c.integer("n_shared_experts", STREAMS, 1) * mixture.intermediate();
        NormSpec norm = s.norm(prefix(i) + "ffn_norm");
        Mixture.Names names = Mixture.Names.NUMBERED;
        return LayerSpec.of(
                prefix(i),
                BranchSpec.of(
                        s.norm(prefix(i) + "attn_norm"),
                        attentions.attention(prefix(i) + "attn.", i)),
                BranchSpec.of(norm, mixture.body(router, ffn + "experts.", names)),
                BranchSpec.of(norm, mixture.shared(ffn + "shared_experts.", names, shared))
                        .beside());
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case EXPERTS -> "n_routed_experts";
            case SHARED_INTERMEDIATE -> "moe_intermediate_size, n_shared_experts";
            default -> Architecture.super.key(size);
        };
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return FAMILY.fixed(size, config);
    }

    /// It is written out always.
    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config;
    }
}
