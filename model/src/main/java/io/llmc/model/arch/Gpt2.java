// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.NormSpec;
import io.llmc.model.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// GPT-2: LayerNorm with biases, learned positions, fused q, k, v, weights stored `[in, out]`.
///
/// Published base checkpoints have no `transformer.` before their names, fine-tuned ones do.
final class Gpt2 implements Architecture {
    private static final String MODULE = "transformer.";

    @Override
    public List<String> modelTypes() {
        return List.of("gpt2");
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        String root = tensors.contains("transformer.wte.weight") ? MODULE : "";
        int hidden = c.integer("n_embd");
        double eps = c.decimal("layer_norm_epsilon", 1e-5);
        Sizes s =
                new Sizes(
                        hidden,
                        c.integer("vocab_size"),
                        c.integer("n_layer"),
                        c.integer("n_head"),
                        c.integer("n_head"),
                        hidden / c.integer("n_head"),
                        c.integer("n_inner", 4 * hidden),
                        eps);
        return new ModelSpec(
                c.modelType(),
                hidden,
                s.vocabulary(),
                c.integer("n_positions", 1024),
                s.stack(i -> layer(c, s, root, i)),
                NormSpec.layer(root + "ln_f", eps),
                root + "wte",
                root + "wpe",
                1,
                Sizes.head(c, true, root + "wte", "lm_head"),
                0,
                true);
    }

    @Override
    public Optional<String> module(String linear) {
        return Optional.of(linear.startsWith(MODULE) ? linear : MODULE + linear);
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case HIDDEN -> "n_embd";
            case LAYERS -> "n_layer";
            case INTERMEDIATE -> "n_inner";
            default -> "n_head";
        };
    }

    @Override
    public Optional<String> fixed(Size size, HfConfig c) {
        return switch (size) {
            case HIDDEN, HEADS, KV_HEADS ->
                    Optional.of("its readers take the size of a head to be n_embd / n_head");
            case LAYERS ->
                    c.flag("scale_attn_by_inverse_layer_idx", false)
                            ? Optional.of(
                                    "scale_attn_by_inverse_layer_idx ties every layer to its number")
                            : Optional.empty();
            case INTERMEDIATE -> Optional.empty();
            case EXPERTS -> Optional.of("it has none");
        };
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config; // no such key
    }

    private static LayerSpec layer(HfConfig c, Sizes s, String root, int i) {
        String p = root + "h." + i + ".";
        double scale = c.flag("scale_attn_weights", true) ? 1 / Math.sqrt(s.headDim()) : 1;
        if (c.flag("scale_attn_by_inverse_layer_idx", false)) {
            scale /= i + 1;
        }
        return new LayerSpec(
                p,
                NormSpec.layer(p + "ln_1", s.eps()),
                new LayerSpec.AttentionLayer(
                        List.of(p + "attn.c_attn"),
                        p + "attn.c_proj",
                        s.heads(),
                        s.heads(),
                        s.headDim(),
                        (float) scale,
                        0,
                        0,
                        null,
                        null,
                        null),
                null,
                NormSpec.layer(p + "ln_2", s.eps()),
                new LayerSpec.Mlp(
                        List.of(p + "mlp.c_fc"),
                        p + "mlp.c_proj",
                        s.intermediate(),
                        Sizes.activation(c.text("activation_function", "gelu_new")),
                        false),
                null);
    }
}
