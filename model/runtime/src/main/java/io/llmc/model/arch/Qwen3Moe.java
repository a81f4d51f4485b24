// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.RouterSpec;
import io.llmc.formats.HfConfig;
import io.llmc.formats.RopeConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.ExpertsSpec.Router;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/// Qwen 3 with experts in some layers.
final class Qwen3Moe implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("qwen3_moe", "qwen3_vl_moe_text");
    }

    private static final Sizes.Defaults ABSENT =
            new Sizes.Defaults(4, 0, 1e-6, RopeConfig.Defaults.of(10_000, 32_768));

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Sizes s = Sizes.of(c, ABSENT);
        RopeSpec rope = s.rope();
        float scale = (float) (1 / Math.sqrt(s.headDim()));
        List<Integer> windows = Qwen2.windows(s);
        IntPredicate sparse = Mixture.sparse(c);
        Mixture mixture = Mixture.of(s, 128, 8);
        return Llama.decoder(
                s,
                tensors,
                i ->
                        Llama.layer(
                                s,
                                i,
                                s.attentionWithHeadNorms(
                                        Llama.prefix(i) + "self_attn.",
                                        rope,
                                        windows.get(i),
                                        scale,
                                        0),
                                sparse.test(i)
                                        ? experts(mixture, i, tensors)
                                        : s.mlp(
                                                Llama.prefix(i) + "mlp.",
                                                "hidden_act",
                                                "silu",
                                                false)));
    }

    private static BodySpec experts(Mixture mixture, int i, Set<String> tensors) {
        String p = Llama.prefix(i) + "mlp.";
        boolean renormalised = mixture.sizes().config().flag("norm_topk_prob", false);
        return mixture.requireTensors(p + "experts.", tensors)
                .body(
                        Router.of(p + "gate", RouterSpec.softmax(renormalised)),
                        p + "experts.",
                        Mixture.Names.PROJECTIONS);
    }

    @Override
    public String key(Size size) {
        return size == Size.EXPERTS ? "num_experts" : Architecture.super.key(size);
    }
}
