// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.Architecture;
import io.llmc.model.BodySpec;
import io.llmc.model.BranchSpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

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
    public String embedding() {
        return MODULE + "wte";
    }

    @Override
    public ModelSpec spec(HfConfig c, Set<String> tensors) {
        int hidden = c.integer("n_embd", Sizes.CHANNELS);
        int heads = c.integer("n_head", Sizes.HEADS);
        if (hidden % heads != 0) {
            throw c.wrong("n_head", "a number that divides %d, n_embd".formatted(hidden));
        }
        if (c.flag("add_cross_attention", false)) {
            throw c.wrong("add_cross_attention", "false: llmc reads decoders only");
        }
        double eps = c.decimal("layer_norm_epsilon", Sizes.EPS, 1e-5);
        int intermediate = c.has("n_inner") ? c.integer("n_inner", Sizes.CHANNELS) : 4 * hidden;
        int layers = c.integer("n_layer", Sizes.LAYERS);
        Sizes.requireTensors(c, "n_layer", MODULE + "h." + (layers - 1) + ".", tensors);
        int positions = c.integer("n_positions", HfConfig.POSITIONS, 1024);
        int vocabulary = c.integer("vocab_size", Sizes.VOCABULARY);
        return new ModelSpec(
                c.modelType(),
                hidden,
                vocabulary,
                positions,
                ModelSpec.Input.of(MODULE + "wte", vocabulary, hidden)
                        .withPositions(MODULE + "wpe", 0),
                IntStream.range(0, layers)
                        .mapToObj(i ->
                                new Block(MODULE + "h." + i + ".", i, hidden, heads, intermediate)
                                        .layer(c, eps))
                        .toList(),
                ModelSpec.Output.of(
                        NormSpec.layer(MODULE + "ln_f", eps),
                        Sizes.head(c, true, MODULE + "wte", "lm_head")),
                true);
    }

    @Override
    public Optional<String> module(String linear) {
        return Optional.of(linear.startsWith(MODULE) ? linear : MODULE + linear);
    }

    /// Causal masks, which old checkpoints have.
    @Override
    public boolean isBuffer(String tensor) {
        return tensor.endsWith(".attn.bias") || tensor.endsWith(".attn.masked_bias");
    }

    @Override
    public String key(Size size) {
        return switch (size) {
            case HIDDEN -> "n_embd";
            case LAYERS -> "n_layer";
            case INTERMEDIATE -> "n_inner";
            case HEAD_DIM -> "head_dim";
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
                                    "scale_attn_by_inverse_layer_idx ties every layer to its"
                                            + " number")
                            : Optional.empty();
            case INTERMEDIATE -> Optional.empty();
            default -> Optional.of("it has none");
        };
    }

    @Override
    public HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        return config; // no such key
    }

    private record Block(String p, int index, int hidden, int heads, int intermediate) {
        LayerSpec layer(HfConfig c, double eps) {
            int headDim = hidden / heads;
            double scale = c.flag("scale_attn_weights", true) ? 1 / Math.sqrt(headDim) : 1;
            if (c.flag("scale_attn_by_inverse_layer_idx", false)) {
                scale /= index + 1;
            }
            SelfAttentionSpec.Projections qkv =
                    SelfAttentionSpec.Projections.fused(
                            p + "attn.c_attn", RowOrder.BY_PROJECTION, true);
            BodySpec attention =
                    new SelfAttentionSpec(
                            qkv,
                            p + "attn.c_proj",
                            true,
                            new SelfAttentionSpec.Heads(heads, heads, headDim),
                            new SelfAttentionSpec.Scores((float) scale, 0, 0),
                            null);
            BodySpec mlp =
                    new MlpSpec(
                            List.of(p + "mlp.c_fc"),
                            p + "mlp.c_proj",
                            true,
                            intermediate,
                            Sizes.activation(c, "activation_function", "gelu_new"),
                            false);
            return LayerSpec.of(
                    p,
                    BranchSpec.of(NormSpec.layer(p + "ln_1", eps), attention),
                    BranchSpec.of(NormSpec.layer(p + "ln_2", eps), mlp));
        }
    }
}
