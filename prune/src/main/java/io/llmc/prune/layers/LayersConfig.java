// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.TextNode;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// config.json of a model some of whose layers are gone: whatever it says of layers by their
/// numbers must be true of the same layers under their new numbers.
///
/// @param config of the whole model, as `spec` is
/// @param kept indices of the layers that stay, ascending
/// @param names of the tensors that stay, renumbered
record LayersConfig(HfConfig config, ModelSpec spec, List<Integer> kept, Set<String> names) {
    private static final String TYPES = "layer_types";

    /// Layers with a window by a period; what it says of them is not true of every choice of them.
    private static final String PATTERN = "sliding_window_pattern";

    /// Has a letter for each layer.
    private static final String LETTERS = "hybrid_override_pattern";

    /// Keys whose values are lists of layers' numbers.
    private static final Set<String> LISTS_OF_LAYERS = Set.of("mlp_only_layers", "moe_layers");

    /// Keys whose values are the number of the first layer that is unlike those before it.
    private static final Set<String> FIRST_LAYERS =
            Set.of("max_window_layers", "first_k_dense_replace", "num_hash_layers");

    /// @throws io.llmc.formats.UserException where no reader of its family would load it
    HfConfig smaller() {
        HfConfig text = config.text();
        HfConfig changed =
                Architectures.of(text).resized(text, spec, Map.of(Size.LAYERS, kept.size()));
        for (Map.Entry<String, JsonNode> entry : changed.json().properties()) {
            JsonNode value = smaller(entry.getKey(), entry.getValue());
            if (!value.equals(entry.getValue())) {
                changed = changed.with(entry.getKey(), value);
            }
        }
        changed = withTypes(changed);
        if (!describesKept(changed)) {
            throw new UserException(
                    "the config.json of a %s cannot say what the layers %s are without the others"
                            .formatted(text.modelType(), kept),
                    "keep others, or choose another method for this model");
        }
        return config.withText(changed);
    }

    private JsonNode smaller(String key, JsonNode value) {
        if (FIRST_LAYERS.contains(key) && value.isInt()) {
            return IntNode.valueOf((int) kept.stream().filter(i -> i < value.intValue()).count());
        }
        if (LETTERS.equals(key) && value.textValue().length() == spec.layers().size()) {
            return TextNode.valueOf(
                    kept.stream()
                            .map(i -> value.textValue().substring(i, i + 1))
                            .collect(Collectors.joining()));
        }
        if (!(value instanceof ArrayNode list)) {
            return value;
        }
        if (LISTS_OF_LAYERS.contains(key)) {
            return renumbered(list);
        }
        return list.size() == spec.layers().size() && !ofTheWholeModel(key) ? rest(list) : value;
    }

    private ArrayNode renumbered(ArrayNode numbers) {
        ArrayNode result = JsonNodeFactory.instance.arrayNode();
        for (JsonNode number : numbers) {
            int place = kept.indexOf(number.intValue());
            if (place >= 0) {
                result.add(place);
            }
        }
        return result;
    }

    /// Lists that may be as long as the model is deep, by chance.
    private static boolean ofTheWholeModel(String key) {
        return key.equals("architectures")
                || key.endsWith("_token_id")
                || key.endsWith("_limit")
                || key.endsWith("_multipliers");
    }

    private ArrayNode rest(ArrayNode perLayer) {
        ArrayNode result = JsonNodeFactory.instance.arrayNode();
        kept.forEach(i -> result.add(perLayer.get(i)));
        return result;
    }

    /// The config with the kind of attention of every layer written out, where they differ.
    private HfConfig withTypes(HfConfig smaller) {
        if (spec.layers().stream().mapToInt(LayerSpec::window).distinct().count() < 2) {
            return smaller;
        }
        HfConfig changed = smaller;
        if (!describesKept(smaller.with(TYPES, null))) {
            changed = changed.with(PATTERN, null);
        }
        if (smaller.has(TYPES)) {
            return changed;
        }
        // Families that name their kinds otherwise say by other keys which layer is of which.
        HfConfig typed = changed.with(TYPES, types());
        return describesKept(typed) ? typed : changed;
    }

    private ArrayNode types() {
        ArrayNode types = JsonNodeFactory.instance.arrayNode();
        for (int i : kept) {
            boolean slides = spec.layers().get(i).window() > 0;
            types.add(slides ? "sliding_attention" : "full_attention");
        }
        return types;
    }

    /// Whether a config says of every layer that stays what the whole model's says of it.
    private boolean describesKept(HfConfig smaller) {
        List<LayerSpec> after;
        try {
            after = Architectures.specOf(smaller, names).layers();
        } catch (FormatException _) {
            return false; // without the types of layers it is no config of this family
        }
        return IntStream.range(0, kept.size())
                .allMatch(i -> {
                    LayerSpec before = spec.layers().get(kept.get(i));
                    return before.at(after.get(i).prefix()).equals(after.get(i));
                });
    }
}
