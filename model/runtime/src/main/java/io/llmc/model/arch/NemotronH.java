// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.node.DoubleNode;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.formats.UserException;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/// Nemotron-H and Nemotron 3: one body a block, which is Mamba-2, attention without positions, a
/// feed-forward of squared ReLU, or experts of that kind.
final class NemotronH implements Architecture {
    private static final String BLOCKS = "backbone.layers.";
    private static final String EMBEDDING = "backbone.embeddings";
    private static final Range EPS = Sizes.EPS;

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(10_000, 4096));

    @Override
    public List<String> modelTypes() {
        return List.of("nemotron_h");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        String pattern = Hybrid.letters(c, i -> BLOCKS + i + ".", tensors);
        double eps = c.decimal("layer_norm_epsilon", EPS, c.decimal("norm_eps", EPS, 1e-5));
        Sizes s =
                Sizes.of(
                        c.with("num_hidden_layers", pattern.length())
                                .with("rms_norm_eps", DoubleNode.valueOf(eps)),
                        ABSENT);
        if (c.has("moe_latent_size")) {
            throw new UserException(
                    "config.json: moe_latent_size puts experts behind a narrower layer, which llmc"
                            + " does not know",
                    "choose a model without it");
        }
        var keys =
                new Scans.Keys(
                        "mamba_num_heads",
                        "mamba_head_dim",
                        "n_groups",
                        "ssm_state_size",
                        "conv_kernel");
        Scans scans =
                Scans.of(c, keys, c.flag("use_bias", false), c.flag("use_conv_bias", true))
                        .from(c.decimal("time_step_min", Range.ANY, 0.001));
        Mixture mixture =
                Mixture.of(s, 8, 2)
                        .with(
                                new Nonlinearity.Plain(Activation.RELU_SQUARED),
                                c.flag("mlp_bias", false));
        return s.model(
                IntStream.range(0, pattern.length())
                        .mapToObj(i -> layer(mixture, scans, i, pattern.charAt(i), tensors))
                        .toList(),
                ModelSpec.Input.of(EMBEDDING, s.vocabulary(), s.hidden()),
                ModelSpec.Output.of(
                        s.norm("backbone.norm_f"), Sizes.head(c, false, EMBEDDING, "lm_head")));
    }

    private static LayerSpec layer(
            Mixture mixture, Scans scans, int i, char kind, Set<String> tensors) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = BLOCKS + i + ".";
        String m = p + "mixer.";
        NormSpec norm = s.norm(p + "norm");
        BodySpec body =
                switch (kind) {
                    case 'M' -> scans.body(m, s.norm(m + "norm"));
                    case '*' -> s.attention(m, null, 0, c.flag("attention_bias", false));
                    case 'E' -> experts(mixture, m, tensors);
                    default ->
                            mixture.mlp(m, Mixture.Names.UNGATED)
                                    .of(Size.INTERMEDIATE, s.intermediate());
                };
        LayerSpec alone = LayerSpec.of(p, BranchSpec.of(norm, body));
        if (kind != 'E') {
            return alone;
        }
        int shared = c.integer("moe_shared_expert_intermediate_size", Sizes.CHANNELS, 5376);
        return Mixture.beside(
                alone, mixture.shared(m + "shared_experts.", Mixture.Names.UNGATED, shared));
    }

    private static BodySpec experts(Mixture mixture, String m, Set<String> tensors) {
        Router router =
                ExpertChoice.SIGMOID.router(
                        mixture, m + "gate", m + "gate.e_score_correction_bias");
        return mixture.requireTensors(m + "experts.", tensors)
                .body(router, m + "experts.", Mixture.Names.UNGATED);
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case EXPERTS -> "n_routed_experts";
            case SHARED_INTERMEDIATE -> "moe_shared_expert_intermediate_size";
            default -> Architecture.super.key(size);
        };
    }
}
