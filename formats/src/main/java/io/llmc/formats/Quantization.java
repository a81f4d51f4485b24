// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.node.ObjectNode;
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

    /// Never returns.
    static <T> T refuse(Path directory, String what) {
        throw new UserException(
                "%s: quantized as %s, but llmc reads dense weights, compressed-tensors pack-quantized and GPTQ (gptq, gptq_v2) of 2, 3, 4 or 8 bits"
                        .formatted(directory, what),
                "start from the original model in F32, F16 or BF16");
    }
}
