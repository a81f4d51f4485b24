// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.ForwardOp.Clamp;
import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Nonlinearity;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.structure.RopeSpec;
import java.util.List;
import java.util.Set;

/// gpt-oss, in plain weights: sinks, every other layer with a window, experts with biases and a
/// clamped SwiGLU whose numbers are the code's.
final class GptOss implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gpt_oss");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(8, 64, 1e-5, RopeConfig.Defaults.of(150_000, 131_072));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        List<String> types = s.layerTypes();
        int window = s.window(128);
        float limit = (float) c.decimal("swiglu_limit", Sizes.CAP, 7);
        Mixture mixture =
                Mixture.of(s, 128, 4)
                        .with(new Nonlinearity.ClampedSwiGlu(new Clamp(limit, 1.702f, 1)), true)
                        .requireTensors(experts(0), tensors);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    boolean local = types.isEmpty() ? i % 2 == 0 : types.get(i).equals(Sizes.LOCAL);
                    return layer(mixture, i, rope, local ? window : 0);
                });
    }

    private static String experts(int i) {
        return Llama.prefix(i) + "mlp.experts.";
    }

    private static LayerSpec layer(Mixture mixture, int i, RopeSpec rope, int window) {
        Sizes s = mixture.sizes();
        String p = Llama.prefix(i);
        boolean biased = s.config().flag("attention_bias", true);
        SelfAttentionSpec attention = s.attention(p + "self_attn.", rope, window, biased);
        return Llama.layer(
                s,
                i,
                attention.with(attention.scores().withSinks(p + "self_attn.sinks")),
                mixture.body(
                        Router.of(p + "mlp.router", RouterSpec.softmax(true)).withBias(),
                        experts(i),
                        Mixture.Names.PROJECTIONS));
    }
}
