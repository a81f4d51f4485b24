// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.tensor.QuantSpec;
import java.nio.file.Path;

/// The part of a GPTQ config that says how weights are packed.
///
/// `dynamic`, which gives some layers other widths and groups, is not looked at: the tensors of
/// each layer say the same.
///
/// @param groupSize [QuantSpec#CHANNEL] for a whole row
record GptqConfig(GptqLayout.Version version, int bits, int groupSize, boolean symmetric)
        implements Quantization {
    static final String FILE = "quantize_config.json";

    static GptqConfig of(Path directory, ObjectNode q) {
        String format = q.path("checkpoint_format").asText(q.path("format").asText("gptq"));
        if (q.path("is_marlin_format").asBoolean(false)) {
            format = "marlin";
        }
        int bits = Quantization.whole(directory, q, "bits", 0);
        String word = q.path("pack_dtype").asText("int32");
        GptqLayout.Version version =
                switch (format) {
                    case "gptq" -> GptqLayout.Version.V1;
                    case "gptq_v2" -> GptqLayout.Version.V2;
                    default -> Quantization.refuse(directory, "GPTQ " + format);
                };
        if (!BITS.contains(bits) || !word.equals("int32")) {
            return Quantization.refuse(
                    directory, "GPTQ of %d bits in %s words".formatted(bits, word));
        }
        int size = Quantization.groupSize(directory, q);
        return new GptqConfig(
                version, bits, size > 0 ? size : QuantSpec.CHANNEL, q.path("sym").asBoolean(true));
    }
}
