// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.tensor.DType;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;

/// `config.json` as typed values. Keys that nothing here knows are kept and written back.
///
/// A key whose value is null counts as absent. A value of another type than asked for is a
/// [FormatException] that names the key.
public final class HfConfig {
    private static final String ROPE_PARAMETERS = "rope_parameters";
    private static final String PARTIAL_FACTOR = "partial_rotary_factor";
    private static final String ORIGINAL_POSITIONS = "original_max_position_embeddings";

    private final Path file;
    private final ObjectNode root;

    private HfConfig(Path file, ObjectNode root) {
        this.file = file;
        this.root = root;
    }

    /// @throws FormatException where the file is not one JSON object
    public static HfConfig read(Path file) {
        return new HfConfig(file, Json.readObject(file));
    }

    /// Of a file of tensors that has none.
    static HfConfig none(Path file) {
        return new HfConfig(file, Json.object());
    }

    public String modelType() {
        return required("model_type", JsonNode::isTextual, "a string").textValue();
    }

    public List<String> architectures() {
        return texts("architectures");
    }

    /// Whether the key is there and not null.
    public boolean has(String key) {
        return root.hasNonNull(key);
    }

    public int integer(String key) {
        return toInt(key, required(key, JsonNode::isNumber, "a whole number"));
    }

    public int integer(String key, int absent) {
        return has(key) ? integer(key) : absent;
    }

    public double decimal(String key, double absent) {
        return has(key) ? required(key, JsonNode::isNumber, "a number").doubleValue() : absent;
    }

    public boolean flag(String key, boolean absent) {
        return has(key)
                ? required(key, JsonNode::isBoolean, "true or false").booleanValue()
                : absent;
    }

    public String text(String key, String absent) {
        return has(key) ? required(key, JsonNode::isTextual, "a string").textValue() : absent;
    }

    /// Empty where absent; a single number is a list of one, as in `eos_token_id`.
    public List<Integer> integers(String key) {
        if (!has(key)) {
            return List.of();
        }
        JsonNode value = root.get(key);
        if (value.isNumber()) {
            return List.of(toInt(key, value));
        }
        List<Integer> list = new ArrayList<>();
        required(key, JsonNode::isArray, "whole numbers").forEach(n -> list.add(toInt(key, n)));
        return List.copyOf(list);
    }

    /// Empty where absent; a single string is a list of one.
    public List<String> texts(String key) {
        if (!has(key)) {
            return List.of();
        }
        JsonNode value = root.get(key);
        if (value.isTextual()) {
            return List.of(value.textValue());
        }
        if (!value.isArray() || !value.valueStream().allMatch(JsonNode::isTextual)) {
            throw wrong(key, "a list of strings");
        }
        return value.valueStream().map(JsonNode::textValue).toList();
    }

    /// `dtype` or `torch_dtype`; F32 where absent or `auto`.
    public DType dtype() {
        String key = has("dtype") ? "dtype" : "torch_dtype";
        String name = text(key, "auto");
        return switch (name.startsWith("torch.") ? name.substring(6) : name) {
            case "float32", "float", "auto" -> DType.F32;
            case "float16", "half" -> DType.F16;
            case "bfloat16" -> DType.BF16;
            default -> throw wrong(key, "float32, float16 or bfloat16");
        };
    }

    /// The rotation of all layers, or of those with full attention where layers differ.
    public RopeConfig rope() {
        return rope("full_attention");
    }

    /// The rotation of layers of one type.
    ///
    /// @param layerType `full_attention` or `sliding_attention`, as in `layer_types`
    public RopeConfig rope(String layerType) {
        if (!has(ROPE_PARAMETERS)) {
            return olderRope(layerType.equals("sliding_attention"));
        }
        ObjectNode parameters = object(ROPE_PARAMETERS);
        boolean perLayerType =
                !parameters.isEmpty() && parameters.valueStream().allMatch(JsonNode::isObject);
        if (!perLayerType) {
            return rope(parameters.deepCopy());
        }
        if (parameters.get(layerType) instanceof ObjectNode own) {
            return rope(own.deepCopy());
        }
        throw wrong(ROPE_PARAMETERS, "an entry for " + layerType);
    }

    /// `rope_theta`, `rope_scaling` and their relatives at the top of the file, as transformers 4
    /// writes them.
    private RopeConfig olderRope(boolean sliding) {
        boolean local = sliding && has("rope_local_base_freq");
        // Olmo 3 scales the rotation of its full-attention layers only.
        boolean unscaled = local || sliding && text("model_type", "").equals("olmo3");
        ObjectNode parameters =
                has("rope_scaling") && !unscaled
                        ? object("rope_scaling").deepCopy()
                        : Json.object();
        if (local) {
            parameters.set("rope_theta", root.get("rope_local_base_freq"));
        }
        return rope(parameters);
    }

    private RopeConfig rope(ObjectNode parameters) {
        String partial = firstOf(PARTIAL_FACTOR, "rotary_pct");
        if (has(partial)) {
            parameters.putIfAbsent(PARTIAL_FACTOR, root.get(partial));
        }
        String theta = firstOf("rope_theta", "rotary_emb_base");
        if (has(theta)) {
            parameters.putIfAbsent("rope_theta", root.get(theta));
        }
        JsonNode type = parameters.path("rope_type");
        if (!type.isTextual()) {
            type = parameters.path("type");
        }
        int max = integer(firstOf("max_position_embeddings", "n_positions"), 0);
        int original = integer(ORIGINAL_POSITIONS, max);
        String name = type.asText("default");
        return new RopeConfig(
                name.equals("su") ? "longrope" : name,
                parameters.path("rope_theta").asDouble(10_000),
                parameters.path(PARTIAL_FACTOR).asDouble(1),
                parameters.path(ORIGINAL_POSITIONS).asInt(original),
                max,
                parameters);
    }

    private String firstOf(String key, String other) {
        return has(key) || !has(other) ? key : other;
    }

    /// `quantization_config`, or `compression_config` as it was first called.
    public Optional<ObjectNode> quantization() {
        String key = firstOf("quantization_config", "compression_config");
        return has(key) ? Optional.of(object(key).deepCopy()) : Optional.empty();
    }

    /// A copy with another value under `key`, which keeps its place; a null removes the key.
    public HfConfig with(String key, JsonNode value) {
        ObjectNode copy = root.deepCopy();
        if (value == null) {
            copy.remove(key);
        } else {
            copy.set(key, value.deepCopy());
        }
        return new HfConfig(file, copy);
    }

    /// As [#with(String, JsonNode)].
    public HfConfig with(String key, int value) {
        return with(key, IntNode.valueOf(value));
    }

    /// A copy of everything.
    public ObjectNode json() {
        return root.deepCopy();
    }

    /// Two spaces, keys in their order, a newline at the end: the same bytes for the same values.
    public void write(Path file) {
        Json.write(file, root);
    }

    private ObjectNode object(String key) {
        return (ObjectNode) required(key, JsonNode::isObject, "an object");
    }

    private JsonNode required(String key, Predicate<JsonNode> fits, String expected) {
        JsonNode value = root.get(key);
        if (value == null || value.isNull()) {
            throw new FormatException(file, "has no '%s', expected %s".formatted(key, expected));
        }
        if (!fits.test(value)) {
            throw wrong(key, expected);
        }
        return value;
    }

    private int toInt(String key, JsonNode value) {
        double number = value.doubleValue();
        if (!value.isNumber() || number != (int) number) {
            throw wrong(key, "a whole number below 2^31");
        }
        return (int) number;
    }

    private FormatException wrong(String key, String expected) {
        String value = String.valueOf(root.get(key));
        return new FormatException(
                file,
                "'%s' is %s, expected %s"
                        .formatted(
                                key,
                                value.length() > 80 ? value.substring(0, 80) + "..." : value,
                                expected));
    }
}
