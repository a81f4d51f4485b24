// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.SelfAttentionSpec.Projections;
import io.llmc.model.SelfAttentionSpec.RowOrder;
import io.llmc.model.SelfAttentionSpec.Scores;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

/// The sizes of families from before Llama, each of which has keys of its own for them: a head is
/// the hidden size by their number, a feed-forward four times as wide unless the config says
/// otherwise.
///
/// @param layersKey what the config calls the number of layers
/// @param eps of every LayerNorm
record Early(
        HfConfig config,
        int hidden,
        int vocabulary,
        int count,
        String layersKey,
        int heads,
        int intermediate,
        double eps) {
    /// What the names of most of them begin with.
    static final String ROOT = "transformer.";

    static Early of(
            HfConfig c, String hiddenKey, String layersKey, String headsKey, String innerKey) {
        int hidden = c.integer(hiddenKey, Sizes.CHANNELS);
        int heads = c.integer(headsKey, Sizes.HEADS);
        if (hidden % heads != 0) {
            throw c.wrong(headsKey, "a number that divides %d, %s".formatted(hidden, hiddenKey));
        }
        int inner =
                c.has(innerKey)
                        ? c.integer(innerKey, Sizes.CHANNELS)
                        : Math.multiplyExact(4, hidden);
        return new Early(
                c,
                hidden,
                c.integer("vocab_size", Sizes.VOCABULARY),
                c.integer(layersKey, Sizes.LAYERS),
                layersKey,
                heads,
                inner,
                c.decimal("layer_norm_epsilon", Sizes.EPS, 1e-5));
    }

    /// The sizes under the keys that most later families have, too.
    static Early of(HfConfig c, String innerKey) {
        return of(c, "hidden_size", "num_hidden_layers", "num_attention_heads", innerKey);
    }

    /// With another feed-forward.
    Early of(int channels) {
        return new Early(config, hidden, vocabulary, count, layersKey, heads, channels, eps);
    }

    /// What the names of a block's tensors begin with, where there is [#ROOT].
    static String prefix(int i) {
        return ROOT + "h." + i + ".";
    }

    /// A model with [#ROOT].
    ModelSpec decoder(
            int positions,
            ModelSpec.Input input,
            Set<String> tensors,
            IntFunction<LayerSpec> layer) {
        requireTensors(tensors, ROOT + "h.");
        return model(
                positions,
                layers().mapToObj(layer).toList(),
                input,
                ModelSpec.Output.of(
                        NormSpec.layer(ROOT + "ln_f", eps),
                        Sizes.head(config, true, input.embedding(), "lm_head")));
    }

    ModelSpec.Input input(String embedding) {
        return ModelSpec.Input.of(embedding, vocabulary, hidden);
    }

    void requireTensors(Set<String> tensors, String blocks) {
        Sizes.requireTensors(config, layersKey, blocks + (count - 1) + ".", tensors);
    }

    IntStream layers() {
        return IntStream.range(0, count);
    }

    int headDim() {
        return hidden / heads;
    }

    Heads attention(int keys) {
        if (heads % keys != 0) {
            throw config.wrong("num_kv_heads", "a number that divides %d heads".formatted(heads));
        }
        return new Heads(heads, keys, headDim());
    }

    /// Attention under the names that Megatron gave layers, q, k and v in one.
    ///
    /// @param p of attention
    /// @param rows of the layer that all three are
    static SelfAttentionSpec attention(
            String p, RowOrder rows, boolean biased, Heads heads, Scores scores, RopeSpec rope) {
        return new SelfAttentionSpec(
                Projections.fused(p + "query_key_value", rows, biased),
                p + "dense",
                biased,
                heads,
                scores,
                rope);
    }

    /// Feed-forward under these names.
    ///
    /// @param p of the block
    MlpSpec mlp(String p, boolean biased, String key, String activation) {
        return mlp(p + "mlp.dense_h_to_4h", p + "mlp.dense_4h_to_h", biased, key, activation);
    }

    /// @param key of the activation; empty where the family always has the same
    MlpSpec mlp(String up, String down, boolean biased, String key, String activation) {
        return new MlpSpec(
                List.of(up),
                down,
                biased,
                intermediate,
                Sizes.activation(config, key, activation),
                false);
    }

    ModelSpec model(
            int positions, List<LayerSpec> layers, ModelSpec.Input input, ModelSpec.Output output) {
        return new ModelSpec(
                config.modelType(), hidden, vocabulary, positions, input, layers, output, false);
    }

    /// The keys of the sizes of a family.
    static String key(
            Size size, String hiddenKey, String layersKey, String headsKey, String innerKey) {
        return switch (size) {
            case HIDDEN -> hiddenKey;
            case LAYERS -> layersKey;
            case HEADS, KV_HEADS -> headsKey;
            case INTERMEDIATE -> innerKey;
            default -> "head_dim";
        };
    }

    /// Whether a tensor is a causal mask, which old checkpoints have.
    static boolean isMask(String tensor) {
        return tensor.matches(".*\\.(attn|attention)\\.(masked_)?bias");
    }

    /// What their readers take to follow from other sizes.
    static Optional<String> fixed(Size size) {
        return switch (size) {
            case LAYERS, INTERMEDIATE -> Optional.empty();
            case EXPERTS -> Optional.of("it has none");
            default ->
                    Optional.of(
                            "its readers take the size of a head to be the hidden size by heads");
        };
    }
}
