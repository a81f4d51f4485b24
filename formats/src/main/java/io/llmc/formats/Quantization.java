// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.tensor.QuantSpec;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/// A `quantization_config` that llmc can read weights of.
sealed interface Quantization permits CompressedTensorsConfig, GptqConfig {
    List<Integer> BITS = List.of(2, 3, 4, 8);

    /// @return empty where the model is dense
    /// @throws UserException where it is quantized in a way that llmc does not read
    static Optional<Quantization> of(Path directory, Optional<ObjectNode> config) {
        return config.flatMap(q -> {
            String method = q.path("quant_method").asText("");
            return switch (method) {
                case "compressed-tensors" -> CompressedTensorsConfig.of(directory, q);
                case "gptq" -> Optional.of(GptqConfig.of(directory, q));
                case "" ->
                        // The first files of compressed-tensors had no method.
                        q.has("config_groups") || q.has("sparsity_config")
                                ? CompressedTensorsConfig.of(directory, q)
                                : refuse(directory, "an unnamed quant_method");
                default -> refuse(directory, method);
            };
        });
    }

    /// A whole number of a quantization config.
    ///
    /// @throws FormatException where it is something else, such as a number in quotes
    static int whole(Path directory, JsonNode q, String key, int absent) {
        JsonNode value = q.path(key);
        if (value.isMissingNode() || value.isNull()) {
            return absent;
        }
        double number = value.doubleValue();
        if (!value.isNumber() || number != (int) number) {
            throw wrong(directory, key, value, "a whole number");
        }
        return (int) number;
    }

    /// Weights in a group; 0 where the key is absent, -1 for whole rows.
    ///
    /// @throws FormatException where it is none of these
    static int groupSize(Path directory, JsonNode q) {
        int size = whole(directory, q, "group_size", 0);
        if (q.hasNonNull("group_size") && size <= 0 && size != QuantSpec.CHANNEL) {
            throw wrong(
                    directory,
                    "group_size",
                    q.path("group_size"),
                    "a number above 0, or -1 for whole rows");
        }
        return size;
    }

    private static FormatException wrong(
            Path directory, String key, JsonNode value, String expected) {
        String text = value.toString();
        return new FormatException(
                directory,
                "the config of its quantization has '%s' as %s, expected %s"
                        .formatted(
                                key,
                                text.length() > 80 ? text.substring(0, 80) + "..." : text,
                                expected));
    }

    /// Never returns.
    static <T> T refuse(Path directory, String what) {
        throw new UserException(
                "%s: quantized as %s, but llmc reads dense weights, compressed-tensors pack-quantized and GPTQ (gptq, gptq_v2) of 2, 3, 4 or 8 bits"
                        .formatted(directory, what),
                "start from the original model in F32, F16 or BF16");
    }
}
