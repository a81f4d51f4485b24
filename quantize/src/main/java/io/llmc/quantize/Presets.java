// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.pipeline.sweep.Preset;
import io.llmc.pipeline.sweep.Preset.Link;
import java.util.List;

/// Every preset by its name, most of them those of llm-compressor. Integers are rounded by GPTQ,
/// which is worth its data there; 8-bit floats to nearest, which needs none.
public final class Presets {
    public static final List<Preset> ALL =
            List.of(
                    Preset.of(
                            "w4a16",
                            "GPTQ to 4 bits in groups, symmetric",
                            new Link("gptq").fixed("bits", 4).usual("groupSize", 128)),
                    Preset.of(
                            "w4a16-asym",
                            "GPTQ to 4 bits in groups, with zero points",
                            new Link("gptq")
                                    .fixed("bits", 4)
                                    .usual("groupSize", 128)
                                    .fixed("symmetric", false)),
                    Preset.of(
                            "w8a16",
                            "8 bits a weight, a scale for each output channel",
                            ints("rtn", "w8a16", 8)),
                    Preset.of(
                            "fp8",
                            "8-bit floats: a scale for each output channel and each token",
                            floats("rtn", "fp8-dynamic")),
                    Preset.of(
                            "fp8-dynamic",
                            "the same, as llm-compressor calls it",
                            floats("rtn", "fp8-dynamic")),
                    Preset.of(
                                    "awq",
                                    "AWQ, then 4 bits in groups, with zero points, as AutoAWQ has it",
                                    new Link("awq"),
                                    new Link("rtn")
                                            .fixed("bits", 4)
                                            .usual("groupSize", 128)
                                            .usual("symmetric", false))
                            .in("awq"),
                    Preset.of(
                                    "gptq",
                                    "GPTQ to 4 bits in groups, symmetric, as GPTQModel has it",
                                    new Link("gptq").usual("groupSize", 128))
                            .in("gptq"));

    private Presets() {}

    /// @param scheme whose bits its name says
    private static Link ints(String method, String scheme, int bits) {
        return floats(method, scheme).fixed("bits", bits);
    }

    private static Link floats(String method, String scheme) {
        return new Link(method).fixed("scheme", scheme);
    }
}
