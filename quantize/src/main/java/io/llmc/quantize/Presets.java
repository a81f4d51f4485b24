// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.pipeline.sweep.Preset;
import io.llmc.pipeline.sweep.Preset.Link;
import java.util.List;

/// Every preset by its name, most of them those of llm-compressor.
public final class Presets {
    public static final List<Preset> ALL =
            List.of(
                    Preset.of(
                            "w4a16",
                            "GPTQ to 4 bits in groups, symmetric",
                            gptq(4).usual("groupSize", 128)),
                    Preset.of(
                            "w4a16-asym",
                            "GPTQ to 4 bits in groups, with zero points",
                            gptq(4).usual("groupSize", 128).fixed("symmetric", false)),
                    Preset.of(
                            "w8a16",
                            "8 bits a weight, a scale for each output channel",
                            new Link("rtn").fixed("bits", 8).usual("groupSize", "channel")),
                    Preset.of(
                            "fp8",
                            "8-bit floats for weights and, token by token, for inputs",
                            new Link("rtn").fixed("scheme", "fp8-dynamic")),
                    Preset.of(
                                    "gptq",
                                    "GPTQ to 4 bits in groups, symmetric, in its own layout",
                                    new Link("gptq").usual("groupSize", 128))
                            .in("gptq"));

    private Presets() {}

    private static Link gptq(int bits) {
        return new Link("gptq").fixed("bits", bits);
    }
}
