// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntFunction;

/// GPT-2: LayerNorm with biases, learned positions, fused q, k, v, weights stored `[in, out]`.
///
/// Published base checkpoints have no `transformer.` before their names, fine-tuned ones do.
final class Gpt2 implements Architecture {
    @Override
    public List<String> modelTypes() {
        return List.of("gpt2");
    }

    @Override
    public String embedding() {
        return Early.ROOT + "wte";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        Early e = Early.of(c, "n_embd", "n_layer", "n_head", "n_inner");
        Heads heads = e.attention(e.heads());
        double scale = c.flag("scale_attn_weights", true) ? 1 / Math.sqrt(heads.dim()) : 1;
        boolean byLayer = c.flag("scale_attn_by_inverse_layer_idx", false);
        return model(
                        e,
                        tensors,
                        i ->
                                attention(
                                        i,
                                        RowOrder.BY_PROJECTION,
                                        heads,
                                        (float) (byLayer ? scale / (i + 1) : scale)),
                        "gelu_new")
                .withInOutLinears();
    }

    /// What is around attention.
    ///
    /// @param activation where the config does not say
    static ModelSpec model(
            Early e, Set<String> tensors, IntFunction<BodySpec> attention, String activation) {
        return e.decoder(
                e.config().integer("n_positions", HfConfig.POSITIONS, 1024),
                e.input(Early.ROOT + "wte").withPositions(Early.ROOT + "wpe", 0),
                tensors,
                i -> {
                    String p = Early.prefix(i);
                    String f = p + "mlp.c_";
                    BodySpec mlp =
                            e.mlp(f + "fc", f + "proj", true, "activation_function", activation);
                    return LayerSpec.of(
                            p,
                            BranchSpec.of(NormSpec.layer(p + "ln_1", e.eps()), attention.apply(i)),
                            BranchSpec.of(NormSpec.layer(p + "ln_2", e.eps()), mlp));
                });
    }

    static BodySpec attention(int i, RowOrder rows, Heads heads, float scale) {
        String p = Early.prefix(i) + "attn.c_";
        return new SelfAttentionSpec(
                Projections.fused(p + "attn", rows, true),
                p + "proj",
                true,
                heads,
                new Scores(scale, 0, 0),
                null);
    }

    @Override
    public Optional<String> module(String linear) {
        return Optional.of(linear.startsWith(Early.ROOT) ? linear : Early.ROOT + linear);
    }

    /// Causal masks, which old checkpoints have.
    @Override
    public boolean isBuffer(String tensor) {
        return Early.isMask(tensor);
    }

    @Override
    public String key(Size size) {
        return Early.key(size, "n_embd", "n_layer", "n_head", "n_inner");
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        String tie = "scale_attn_by_inverse_layer_idx";
        return size == Size.LAYERS && c.flag(tie, false)
                ? Optional.of(tie + " ties every layer to its number")
                : Early.fixed(size);
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config; // no such key
    }
}
