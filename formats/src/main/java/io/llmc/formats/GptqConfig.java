// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.Tiles;

/// The part of a GPTQ config that says how weights are packed.
///
/// `dynamic` gives some layers other widths and groups. Its patterns are not looked at: the tensors
/// of each layer say the same.
///
/// @param groupSize [Tiles#ALL] for a whole row
/// @param mixed whether layers may have another width or group size
record GptqConfig(
        GptqLayout.Version version, int bits, int groupSize, boolean symmetric, boolean mixed)
        implements Quantization {
    static final String FILE = "quantize_config.json";

    static GptqConfig of(ConfigSection q) {
        String format = q.text("checkpoint_format", q.text("format", "gptq"));
        if (q.flag("is_marlin_format", false)) {
            format = "marlin";
        }
        String word = q.text("pack_dtype", "int32");
        GptqLayout.Version version =
                switch (format) {
                    case "gptq" -> GptqLayout.Version.V1;
                    case "gptq_v2" -> GptqLayout.Version.V2;
                    default -> Quantization.refuse(q, "GPTQ " + format);
                };
        int bits = Quantization.bits(q, "bits");
        if (!BITS.contains(bits) || !word.equals("int32")) {
            return Quantization.refuse(q, "GPTQ of %d bits in %s words".formatted(bits, word));
        }
        int size = Quantization.groupSize(q);
        // Whether inputs are in order is for g_idx to say.
        q.flag("desc_act", false);
        return new GptqConfig(
                version, bits, size > 0 ? size : Tiles.ALL, q.flag("sym", true), isMixed(q));
    }

    /// Keys that begin with `-:` name layers that are left as they are.
    private static boolean isMixed(ConfigSection q) {
        return q.has("dynamic")
                && q.object("dynamic").propertyStream().anyMatch(e -> !e.getKey().startsWith("-:"));
    }
}
