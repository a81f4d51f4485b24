// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.FormatException;
import io.llmc.formats.Range;
import io.llmc.formats.UserException;
import io.llmc.formats.gguf.GgufHeader.Entry;
import io.llmc.tensor.DType;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/// What llama.cpp's converter does to one family of models, the other way round: its keys become
/// those of config.json, its tensors' names those of the hub.
///
/// @param name `general.architecture`
/// @param modelType of config.json
/// @param className of transformers
/// @param interleaved whether the rows of q and k are in another order than on the hub
/// @see <a href="https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py">the
///   converter</a>
record GgufArchitecture(String name, String modelType, String className, boolean interleaved) {
    private static final List<GgufArchitecture> ALL =
            List.of(
                    new GgufArchitecture("llama", "llama", "LlamaForCausalLM", true),
                    new GgufArchitecture("qwen2", "qwen2", "Qwen2ForCausalLM", false),
                    new GgufArchitecture("qwen3", "qwen3", "Qwen3ForCausalLM", false));

    private static final String NAME = "general.architecture";
    private static final String HEADS = "attention.head_count";
    private static final String KV_HEADS = "attention.head_count_kv";
    private static final String KEY_LENGTH = "attention.key_length";
    private static final String HIDDEN = "embedding_length";
    private static final String SCALING = "rope.scaling.type";
    private static final String SCALING_FACTOR = "rope.scaling.factor";

    /// Keys whose values config.json has under other names, and reads with their ranges.
    private static final SortedMap<String, String> KEYS =
            new TreeMap<>(
                    Map.of(
                            "block_count",
                            "num_hidden_layers",
                            "context_length",
                            "max_position_embeddings",
                            HIDDEN,
                            "hidden_size",
                            "feed_forward_length",
                            "intermediate_size",
                            HEADS,
                            "num_attention_heads",
                            KV_HEADS,
                            "num_key_value_heads",
                            KEY_LENGTH,
                            "head_dim",
                            "attention.layer_norm_rms_epsilon",
                            "rms_norm_eps",
                            "rope.freq_base",
                            "rope_theta"));

    /// Keys that are looked at elsewhere, or say nothing that changes a result.
    private static final Set<String> OTHERS =
            Set.of(
                    "vocab_size",
                    "attention.value_length",
                    "rope.dimension_count",
                    SCALING,
                    SCALING_FACTOR,
                    "rope.scaling.original_context_length",
                    "rope.scaling.finetuned",
                    "tensor_data_layout");

    private static final Map<String, String> OUTSIDE =
            Map.of(
                    "token_embd", "model.embed_tokens",
                    "output_norm", "model.norm",
                    "output", "lm_head");

    private static final Map<String, String> INSIDE =
            Map.ofEntries(
                    Map.entry("attn_norm", "input_layernorm"),
                    Map.entry("attn_q", "self_attn.q_proj"),
                    Map.entry("attn_k", "self_attn.k_proj"),
                    Map.entry("attn_v", "self_attn.v_proj"),
                    Map.entry("attn_output", "self_attn.o_proj"),
                    Map.entry("attn_q_norm", "self_attn.q_norm"),
                    Map.entry("attn_k_norm", "self_attn.k_norm"),
                    Map.entry("ffn_norm", "post_attention_layernorm"),
                    Map.entry("ffn_gate", "mlp.gate_proj"),
                    Map.entry("ffn_up", "mlp.up_proj"),
                    Map.entry("ffn_down", "mlp.down_proj"));

    private static final Pattern TENSOR =
            Pattern.compile(
                    "(?:blk\\.(?<block>[0-9]{1,6})\\.)?(?<part>[a-z_]+)\\.(?<kind>weight|bias)");

    /// @throws UserException where llmc reads no such family from GGUF
    static GgufArchitecture of(ConfigSection metadata) {
        String name = metadata.text(NAME);
        return ALL.stream()
                .filter(a -> a.name.equals(name))
                .findFirst()
                .orElseThrow(() ->
                        new UserException(
                                "%s: %s is \"%s\", which llmc does not read from GGUF"
                                        .formatted(metadata.file(), NAME, name),
                                "known: %s; start from the model in safetensors"
                                        .formatted(
                                                ALL.stream()
                                                        .map(GgufArchitecture::name)
                                                        .collect(Collectors.joining(", ")))));
    }

    /// The values of config.json.
    ///
    /// @throws UserException where the metadata say more than config.json could
    ObjectNode config(ConfigSection metadata, SequencedMap<String, Entry> tensors) {
        requireKnown(metadata);
        ObjectNode config = JsonNodeFactory.instance.objectNode();
        config.putArray("architectures").add(className);
        config.put("model_type", modelType);
        KEYS.forEach((key, hub) -> {
            if (metadata.has(name + "." + key)) {
                config.set(hub, metadata.values().get(name + "." + key));
            }
        });
        int heads = heads(metadata, HEADS);
        config.put("num_key_value_heads", heads(metadata, KV_HEADS));
        requireWholeHeads(metadata, heads);
        Entry embedding = tensors.get("token_embd.weight");
        if (embedding == null) {
            throw new FormatException(metadata.file(), "has no tensor 'token_embd.weight'");
        }
        config.put("vocab_size", embedding.shape().dim(0));
        config.put("tie_word_embeddings", !tensors.containsKey("output.weight"));
        config.put("torch_dtype", torchName(embedding.type().dtype()));
        if (name.equals("llama")) {
            config.put("attention_bias", tensors.containsKey("blk.0.attn_q.bias"));
            config.put("mlp_bias", tensors.containsKey("blk.0.ffn_up.bias"));
        }
        scaling(metadata).ifPresent(scaling -> config.set("rope_scaling", scaling));
        for (String token : List.of("bos", "eos", "pad")) {
            String key =
                    "tokenizer.ggml.%s_token_id".formatted(token.equals("pad") ? "padding" : token);
            if (metadata.has(key)) {
                config.set(token + "_token_id", metadata.values().get(key));
            }
        }
        return config;
    }

    /// What a key says that is not known here may change every result.
    private void requireKnown(ConfigSection metadata) {
        metadata.values()
                .fieldNames()
                .forEachRemaining(key -> {
                    String own = key.startsWith(name + ".") ? key.substring(name.length() + 1) : "";
                    boolean none =
                            own.startsWith("expert_") && metadata.values().get(key).asInt(1) == 0;
                    if (!own.isEmpty()
                            && !KEYS.containsKey(own)
                            && !OTHERS.contains(own)
                            && !none) {
                        throw unknown(metadata, "the key '%s'".formatted(key));
                    }
                });
    }

    private UserException unknown(ConfigSection metadata, String what) {
        return new UserException(
                "%s: has %s, which llmc does not know of the architecture \"%s\" in GGUF"
                        .formatted(metadata.file(), what, name),
                "start from the model in safetensors");
    }

    private int heads(ConfigSection metadata, String key) {
        boolean own = metadata.has(name + "." + key);
        return metadata.integer(name + "." + (own ? key : HEADS), Range.upTo(1 << 20));
    }

    /// Keys and values of one width, all of which turns.
    private void requireWholeHeads(ConfigSection metadata, int heads) {
        Range sizes = Range.upTo(1 << 24);
        int hidden = metadata.integer(name + "." + HIDDEN, sizes);
        int head = metadata.integer(name + "." + KEY_LENGTH, sizes, hidden / heads);
        for (String other : List.of("attention.value_length", "rope.dimension_count")) {
            if (metadata.integer(name + "." + other, sizes, head) != head) {
                throw metadata.wrong(name + "." + other, "%d, the size of a head".formatted(head));
            }
        }
    }

    private Optional<ObjectNode> scaling(ConfigSection metadata) {
        String key = name + "." + SCALING;
        String type = metadata.text(key, "none");
        if (type.equals("none")) {
            return Optional.empty();
        }
        if (!type.equals("linear")) {
            throw unknown(metadata, "the %s \"%s\"".formatted(key, type));
        }
        ObjectNode scaling = JsonNodeFactory.instance.objectNode();
        scaling.put("rope_type", type);
        String factor = name + "." + SCALING_FACTOR;
        scaling.put("factor", metadata.decimal(factor, Range.above(0, 1e6)));
        return Optional.of(scaling);
    }

    private static String torchName(DType dtype) {
        return switch (dtype) {
            case F16 -> "float16";
            case BF16 -> "bfloat16";
            default -> "float32";
        };
    }

    /// The hub's name of a tensor.
    ///
    /// @throws UserException where this family has no such tensor
    String hubName(ConfigSection metadata, String tensor) {
        Matcher m = TENSOR.matcher(tensor);
        if (m.matches()) {
            String block = m.group("block");
            String part = (block == null ? OUTSIDE : INSIDE).get(m.group("part"));
            if (part != null) {
                String prefix = block == null ? "" : "model.layers.%s.".formatted(block);
                return prefix + part + "." + m.group("kind");
            }
        }
        throw unknown(metadata, "the tensor '%s'".formatted(tensor));
    }

    /// The heads whose rows a tensor has in llama.cpp's order; 0 where it has none.
    int interleavedHeads(ConfigSection metadata, Entry tensor) {
        Matcher m = TENSOR.matcher(tensor.name());
        String part = interleaved && m.matches() ? m.group("part") : "";
        if (!part.equals("attn_q") && !part.equals("attn_k")) {
            return 0;
        }
        int heads = heads(metadata, part.equals("attn_q") ? HEADS : KV_HEADS);
        if (tensor.shape().dim(0) % (2L * heads) != 0) {
            throw new FormatException(
                    metadata.file(),
                    "tensor '%s' has %d rows, expected %d heads of an even size"
                            .formatted(tensor.name(), tensor.shape().dim(0), heads));
        }
        return heads;
    }
}
