// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import com.fasterxml.jackson.databind.node.BooleanNode;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.UserException;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;

/// What a family of checkpoints looks like: config.json in, sizes and tensor names out.
///
/// To add one: write a class in `arch`, add it to [io.llmc.model.arch.Architectures#ALL], and put a
/// directory with golden logits into testdata.
public interface Architecture {
    /// The values of `model_type` in config.json that this class understands.
    List<String> modelTypes();

    /// The token embedding, without `.weight`. What stands before its last name is what the names
    /// of all tensors but the output layer's begin with, in a checkpoint of this family alone;
    /// others may have more or less in front.
    default String embedding() {
        return "model.embed_tokens";
    }

    /// The output layer, where it is not tied, without `.weight`.
    default String head() {
        return "lm_head";
    }

    /// The model under this family's own names.
    ///
    /// @param config of the text decoder alone
    /// @param tensors the checkpoint's tensors, under this family's names; none where there is a
    ///   config alone
    ModelSpec spec(HfConfig config, Set<String> tensors);

    /// The module of transformers that holds a linear layer of the blocks; empty where transformers
    /// fuses it with others, as the experts of a block since version 5.
    ///
    /// @param linear its name in a checkpoint
    default Optional<String> module(String linear) {
        return linear.contains(".experts.") ? Optional.empty() : Optional.of(linear);
    }

    /// Whether a tensor is one that every reader of this family computes and none reads.
    default boolean isBuffer(String tensor) {
        return tensor.endsWith("rotary_emb.inv_freq");
    }

    /// The config of a model whose output layer has a matrix of its own.
    default HfConfig untied(HfConfig config) {
        return config.with("tie_word_embeddings", BooleanNode.FALSE);
    }

    /// Whether a tensor among the blocks is a part of the model that a text decoder does not run,
    /// and that stays in what is made of it: multi-token prediction behind the last block.
    ///
    /// @param tensor under this family's names
    default boolean travels(String tensor, HfConfig config) {
        if (tensor.startsWith("mtp.")) {
            return true;
        }
        String key = "num_nextn_predict_layers";
        int more = config.has(key) ? config.integer(key, Range.zeroTo(1000)) : 0;
        String blocks = embedding().substring(0, embedding().lastIndexOf('.') + 1) + "layers.";
        if (more == 0 || !tensor.startsWith(blocks)) {
            return false;
        }
        int layers = config.integer(key(Size.LAYERS), Range.upTo(10_000));
        return IntStream.range(layers, layers + more)
                .anyMatch(i -> tensor.startsWith(blocks + i + "."));
    }

    /// The key of a size in config.json.
    default String key(Size size) {
        return switch (size) {
            case HIDDEN -> "hidden_size";
            case LAYERS -> "num_hidden_layers";
            case HEADS -> "num_attention_heads";
            case KV_HEADS -> "num_key_value_heads";
            case INTERMEDIATE -> "intermediate_size";
            case EXPERTS -> "num_local_experts";
            case EXPERT_INTERMEDIATE -> "moe_intermediate_size";
            case SHARED_INTERMEDIATE -> "shared_expert_intermediate_size";
            case QUERY_RANK -> "q_lora_rank";
            case LATENT_RANK -> "kv_lora_rank";
            case HEAD_DIM -> "head_dim";
        };
    }

    /// What a config with older keys says, under those that readers know today.
    default HfConfig modern(HfConfig config) {
        return config;
    }

    /// Why no reader of this family would load the model with another size; empty where it would.
    default Optional<String> fixed(Size size, HfConfig config) {
        return Optional.empty();
    }

    /// The config with other sizes. The size of a head is written too, which readers would
    /// otherwise take from sizes that have changed.
    ///
    /// @throws UserException where a size is fixed
    default HfConfig resized(HfConfig config, ModelSpec spec, Map<Size, Integer> sizes) {
        HfConfig changed = modern(config);
        for (Map.Entry<Size, Integer> entry : sizes.entrySet()) {
            if (entry.getKey() == Size.SHARED_INTERMEDIATE && followsExperts(config, sizes)) {
                continue;
            }
            Optional<String> why = fixed(entry.getKey(), config);
            if (why.isPresent()) {
                throw new UserException(
                        "the %s of a %s cannot change: %s"
                                .formatted(entry.getKey(), config.modelType(), why.get()),
                        "choose another method for this model");
            }
            changed = changed.with(key(entry.getKey()), entry.getValue());
        }
        String kvHeads = key(Size.KV_HEADS);
        Integer heads = sizes.get(Size.HEADS);
        if (heads != null
                && !sizes.containsKey(Size.KV_HEADS)
                && config.has(kvHeads)
                && config.has(key(Size.HEADS))
                && config.integer(kvHeads) == config.integer(key(Size.HEADS))) {
            // Heads without keys of their own, as under a latent vector: readers want both numbers.
            changed = changed.with(kvHeads, heads);
        }
        return withHeadDim(changed, spec);
    }

    /// Whether the shared experts' width, which the config has as so many times an expert's, still
    /// is that.
    private boolean followsExperts(HfConfig config, Map<Size, Integer> sizes) {
        String[] keys = key(Size.SHARED_INTERMEDIATE).split(", ", -1);
        Integer each = sizes.get(Size.EXPERT_INTERMEDIATE);
        return keys.length == 2
                && keys[0].equals(key(Size.EXPERT_INTERMEDIATE))
                && each != null
                && (long) each * config.integer(keys[1]) == sizes.get(Size.SHARED_INTERMEDIATE);
    }

    /// The config with the size of a head written out.
    default HfConfig withHeadDim(HfConfig config, ModelSpec spec) {
        if (config.has("head_dim")) {
            return config;
        }
        return spec.layers()
                .getFirst()
                .pruneGroup(Size.HEADS)
                .map(heads -> config.with("head_dim", heads.columns().getFirst().width()))
                .orElse(config);
    }
}
