// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.backend.Op.Activation;
import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.NormSpec;
import io.llmc.model.RopeSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;

/// The keys that Llama and its descendants share.
///
/// @param eps of every RMS norm
record Sizes(
        int hidden,
        int vocabulary,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        int intermediate,
        double eps) {
    static Sizes of(HfConfig c) {
        int hidden = c.integer("hidden_size");
        int heads = c.integer("num_attention_heads");
        int headDim = c.integer("head_dim", hidden / heads);
        return new Sizes(
                hidden,
                c.integer("vocab_size"),
                c.integer("num_hidden_layers"),
                heads,
                c.integer("num_key_value_heads", heads),
                headDim,
                c.integer("intermediate_size"),
                c.decimal("rms_norm_eps", 1e-6));
    }

    Sizes withHeadDim(int dim) {
        return new Sizes(hidden, vocabulary, layers, heads, kvHeads, dim, intermediate, eps);
    }

    /// `layer(0) .. layer(layers - 1)`
    List<LayerSpec> stack(IntFunction<LayerSpec> layer) {
        List<LayerSpec> all = new ArrayList<>();
        for (int i = 0; i < layers; i++) {
            all.add(layer.apply(i));
        }
        return all;
    }

    NormSpec norm(String name) {
        return NormSpec.rms(name, eps);
    }

    /// Attention under Llama's names with scores divided by the root of the head's size.
    LayerSpec.AttentionLayer attention(String prefix, RopeSpec rope, int window) {
        return new LayerSpec.AttentionLayer(
                List.of(prefix + "q_proj", prefix + "k_proj", prefix + "v_proj"),
                prefix + "o_proj",
                heads,
                kvHeads,
                headDim,
                (float) (1 / Math.sqrt(headDim)),
                window,
                0,
                rope,
                null,
                null);
    }

    /// The same with a norm over each head of q and k.
    LayerSpec.AttentionLayer attentionWithHeadNorms(
            String prefix, RopeSpec rope, int window, float scale, float normOffset) {
        LayerSpec.AttentionLayer plain = attention(prefix, rope, window);
        return new LayerSpec.AttentionLayer(
                plain.projections(),
                plain.output(),
                heads,
                kvHeads,
                headDim,
                scale,
                window,
                0,
                rope,
                norm(prefix + "q_norm").offsetBy(normOffset),
                norm(prefix + "k_norm").offsetBy(normOffset));
    }

    LayerSpec.Mlp mlp(String prefix, Activation activation) {
        return new LayerSpec.Mlp(
                List.of(prefix + "gate_proj", prefix + "up_proj"),
                prefix + "down_proj",
                intermediate,
                activation,
                true);
    }

    /// The name of the output layer.
    static String head(HfConfig c, boolean tiedByDefault, String embedding, String head) {
        return c.flag("tie_word_embeddings", tiedByDefault) ? embedding : head;
    }

    static Activation activation(String name) {
        return switch (name) {
            case "silu", "swish" -> Activation.SILU;
            case "gelu_new", "gelu_pytorch_tanh", "gelu_fast" -> Activation.GELU_TANH;
            case "gelu" -> Activation.GELU_ERF;
            case "relu" -> Activation.RELU;
            default ->
                    throw new UserException(
                            "config.json asks for the activation \""
                                    + name
                                    + "\", which llmc does not know",
                            "known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
        };
    }
}
