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
                            ints("gptq", "w4a16", 4)),
                    Preset.of(
                            "w4a16-asym",
                            "GPTQ to 4 bits in groups, with zero points",
                            ints("gptq", "w4a16-asym", 4).fixed("symmetric", false)),
                    Preset.of(
                            "best",
                            "the most that the bits can keep: AWQ's scales, then GPTQ, corrected towards the original and refit",
                            new Link("awq").usual("clamp", false),
                            new Link("gptq")
                                    .usual("groupSize", 64)
                                    .usual("correction", 0.7)
                                    .usual("damping", 0.1)
                                    .usual("shrinkage", 0.5)
                                    .usual("refit", 2)),
                    Preset.of(
                            "w8a16",
                            "8 bits a weight, a scale for each output channel",
                            ints("rtn", "w8a16", 8)),
                    Preset.of(
                            "w8a8",
                            "SmoothQuant, then GPTQ to 8 bits; inputs in 8 bits, token by token",
                            new Link("smooth").usual("alpha", "0.65").usual("inner", true),
                            ints("gptq", "w8a8", 8).fixed("symmetric", true)),
                    Preset.of(
                            "w8a8-static",
                            "the same with one scale for the inputs of a layer",
                            new Link("smooth"),
                            ints("gptq", "w8a8-static", 8).fixed("symmetric", true)),
                    Preset.of(
                            "w4a8",
                            "GPTQ to 4 bits in groups; inputs in 8 bits, token by token",
                            ints("gptq", "w4a8", 4)),
                    Preset.of(
                            "w4afp8",
                            "GPTQ to 4 bits in groups; inputs in 8-bit floats, token by token",
                            ints("gptq", "w4afp8", 4)),
                    Preset.of(
                            "fp8",
                            "8-bit floats: a scale for each output channel and each token",
                            floats("rtn", "fp8-dynamic")),
                    Preset.of(
                            "fp8-dynamic",
                            "the same, as llm-compressor calls it",
                            floats("rtn", "fp8-dynamic")),
                    Preset.of(
                            "fp8-static",
                            "8-bit floats: one scale for a layer, and one for its inputs",
                            floats("rtn", "fp8")),
                    Preset.of(
                            "fp8-block",
                            "8-bit floats in blocks of 128 x 128, inputs in groups of 128",
                            floats("rtn", "fp8-block")),
                    Preset.of(
                            "nvfp4",
                            "GPTQ to 4-bit floats in groups of 16, inputs too",
                            floats("gptq", "nvfp4")),
                    Preset.of(
                            "nvfp4a16",
                            "GPTQ to 4-bit floats in groups of 16",
                            floats("gptq", "nvfp4a16")),
                    Preset.of(
                            "mxfp4",
                            "GPTQ to 4-bit floats in groups of 32, inputs too",
                            floats("gptq", "mxfp4")),
                    Preset.of(
                            "mxfp4a16",
                            "GPTQ to 4-bit floats in groups of 32",
                            floats("gptq", "mxfp4a16")),
                    Preset.of(
                            "mxfp8",
                            "8-bit floats in groups of 32, inputs too",
                            floats("rtn", "mxfp8")),
                    Preset.of(
                            "mxfp8a16", "8-bit floats in groups of 32", floats("rtn", "mxfp8a16")),
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
