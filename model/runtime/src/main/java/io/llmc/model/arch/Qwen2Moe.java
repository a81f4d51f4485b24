// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// Qwen 1.5 and 2 with experts in some layers, and one beside them that every token goes to.
final class Qwen2Moe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("qwen2_moe");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(16, 0, 1e-6, RopeConfig.Defaults.of(10_000, 32_768));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        List<Integer> windows = Qwen2.windows(s);
        boolean biased = c.flag("qkv_bias", true);
        IntPredicate sparse = Mixture.sparse(c);
        Mixture mixture = Mixture.of(s, 60, 4);
        return Llama.decoder(
                s,
                tensors,
                i -> {
                    BodySpec attention =
                            s.attention(
                                    Llama.prefix(i) + "self_attn.",
                                    rope,
                                    windows.get(i),
                                    biased,
                                    false);
                    return sparse.test(i)
                            ? sparse(mixture, i, attention, tensors)
                            : Llama.layer(s, i, attention);
                });
    }

    private static LayerSpec sparse(
            Mixture mixture, int i, BodySpec attention, Set<String> tensors) {
        Sizes s = mixture.sizes();
        HfConfig c = s.config();
        String p = Llama.prefix(i) + "mlp.";
        boolean renormalised = c.flag("norm_topk_prob", false);
        int shared = c.integer("shared_expert_intermediate_size", Sizes.CHANNELS, 5632);
        LayerSpec alone =
                Llama.layer(
                        s,
                        i,
                        attention,
                        mixture.requireTensors(p + "experts.", tensors)
                                .body(
                                        Router.of(p + "gate", RouterSpec.softmax(renormalised)),
                                        p + "experts.",
                                        Mixture.Names.PROJECTIONS));
        return Mixture.beside(
                alone,
                mixture.shared(p + "shared_expert.", shared).sharedBy(p + "shared_expert_gate"));
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }
}
