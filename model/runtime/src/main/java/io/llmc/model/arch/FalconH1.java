// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.backend.ForwardOp;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// Falcon-H1: attention and Mamba-2 side by side, and a factor on everything. Where a factor stands
/// before a layer, it stands as well behind it, since none has a bias.
final class FalconH1 implements Architecture {
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String SSM_IN = "ssm_in_multiplier";

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 0, 1e-5, RopeConfig.Defaults.of(10_000, 8192));

    @Override
    public List<String> modelTypes() {
        return List.of("falcon_h1");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        int inner =
                c.has("mamba_d_ssm")
                        ? c.integer("mamba_d_ssm", Sizes.CHANNELS)
                        : s.hidden() * c.integer("mamba_expand", Range.upTo(256), 2);
        Scans scans =
                Scans.of(c, Scans.Keys.PREFIXED, false, c.flag("mamba_conv_bias", true))
                        .requireChannels("mamba_d_ssm", inner);
        return s.model(
                s.stack(tensors, i -> layer(s, scans, i, rope)),
                ModelSpec.Input.of(EMBEDDING, s.vocabulary(), s.hidden())
                        .times(factor(c, "embedding_multiplier")),
                ModelSpec.Output.of(
                                s.norm("model.final_layernorm"),
                                Sizes.head(c, false, EMBEDDING, "lm_head"))
                        .times(factor(c, "lm_head_multiplier")));
    }

    private static double factor(HfConfig c, String key) {
        return c.decimal(key, Sizes.CAP, 1);
    }

    private static List<Float> factors(HfConfig c, String key, int count, double beside) {
        List<Float> all = new ArrayList<>();
        JsonNode values = c.json().path(key);
        for (int i = 0; i < count; i++) {
            JsonNode one = c.has(key) ? values.path(i) : null;
            if (one != null && (!one.isNumber() || values.size() != count)) {
                throw c.wrong(key, "%d numbers".formatted(count));
            }
            all.add((float) ((one == null ? 1 : one.doubleValue()) * beside));
        }
        return all;
    }

    private static LayerSpec layer(Sizes s, Scans scans, int i, RopeSpec rope) {
        HfConfig c = s.config();
        String p = Llama.prefix(i);
        NormSpec norm = s.norm(p + "input_layernorm");
        double in = factor(c, "attention_in_multiplier");
        SelfAttentionSpec plain = s.attention(p + "self_attn.", rope, 0, false);
        SelfAttentionSpec attention =
                plain.with(plain.scores().times(in * in * factor(c, "key_multiplier")));
        NormSpec gated = c.flag("mamba_rms_norm", true) ? s.norm(p + "mamba.norm") : null;
        var mamba =
                scans.body(
                        p + "mamba.", gated, factors(c, "ssm_multipliers", 5, factor(c, SSM_IN)));
        List<Float> mlp = factors(c, "mlp_multipliers", 2, 1);
        return LayerSpec.of(
                p,
                BranchSpec.of(norm, attention)
                        .times((float) (in * factor(c, "attention_out_multiplier"))),
                BranchSpec.of(norm, mamba).times((float) factor(c, "ssm_out_multiplier")).beside(),
                BranchSpec.of(s.norm(p + "pre_ff_layernorm"), mlp(s, p, mlp.getFirst()))
                        .times(mlp.getFirst() * mlp.getLast()));
    }

    /// `silu(m g) = m (g sigmoid(m g))`
    private static MlpSpec mlp(Sizes s, String p, float m) {
        String f = p + "feed_forward.";
        return new MlpSpec(
                List.of(f + "gate_proj", f + "up_proj"),
                f + "down_proj",
                false,
                s.intermediate(),
                new Nonlinearity.ClampedSwiGlu(new ForwardOp.Clamp(Float.POSITIVE_INFINITY, m, 0)),
                true);
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig config) {
        return size == Size.HIDDEN && !config.has("mamba_d_ssm")
                ? Optional.of("its states have mamba_expand times as many channels as the stream")
                : Optional.empty();
    }
}
