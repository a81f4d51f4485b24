// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.model.LayerSpec;
import io.llmc.model.MlpSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec.Heads;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Optional;
import java.util.Set;
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

    /// With another feed-forward.
    Early of(int channels) {
        return new Early(config, hidden, vocabulary, count, layersKey, heads, channels, eps);
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
