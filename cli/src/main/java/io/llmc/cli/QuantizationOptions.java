// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: the grid that weights are rounded to, and how.
final class QuantizationOptions {
    @Option(
            names = "--bits",
            paramLabel = "N",
            description = "Bits a weight: 2, 3, 4 or 8 (default: 4).")
    private Integer bits;

    @Option(
            names = "--group-size",
            paramLabel = "N",
            description =
                    "Weights of a row that share a scale, or channel for the whole row (default:"
                            + " 128).")
    private String groupSize;

    @Option(
            names = "--scheme",
            paramLabel = "NAME",
            description =
                    "rtn: fp8-dynamic, 8-bit floats for weights and inputs, in the place of an integer"
                            + " grid.")
    private String scheme;

    @Option(names = "--asymmetric", description = "Give every group a zero point.")
    private boolean asymmetric;

    @Option(
            names = "--clip",
            paramLabel = "HOW",
            description =
                    "Search each group's range before rounding: hessian (gptq's default), mse"
                            + " (rtn's choice) or none.")
    private String clip;

    @Option(
            names = "--act-order",
            paramLabel = "HOW",
            description =
                    "gptq: round important columns first: static keeps groups contiguous (default),"
                            + " group does not, none keeps the order of the columns.")
    private String actOrder;

    @Option(
            names = "--damping",
            paramLabel = "X",
            description =
                    "gptq: added to the Hessian's diagonal, as a part of its mean (default: 0.01).")
    private Double damping;

    @Option(
            names = "--rare-experts",
            paramLabel = "HOW",
            description =
                    "gptq: an expert that saw too few tokens is rounded to nearest (rtn, the default)"
                            + " or is an error (fail).")
    private String rareExperts;

    @Option(
            names = "--min-expert-tokens",
            paramLabel = "N",
            description = "gptq: fewer tokens than this make an expert rare (default: 128).")
    private Integer minExpertTokens;

    @Option(
            names = "--keep-zeros",
            paramLabel = "HOW",
            description =
                    "gptq: weights that are zero stay zero: auto (default), in layers that were pruned;"
                            + " always or never.")
    private String keepZeros;

    @Option(
            names = "--pattern",
            paramLabel = "P",
            description =
                    "gptq: prune in the same loop: N:M, as 2:4, with --act-order none; or unstructured,"
                            + " with --sparsity (default: do not prune).")
    private String pattern;

    @Option(
            names = "--sparsity",
            paramLabel = "X",
            description = "gptq: part of the weights to zero in the same loop, 0 to 1.")
    private Double sparsity;

    List<Setting> toSettings() {
        boolean grid = scheme == null;
        return List.of(
                new Setting("scheme", scheme, "--scheme"),
                new Setting("bits", bits == null && grid ? (Integer) 4 : bits, "--bits"),
                new Setting(
                        "groupSize",
                        number(groupSize == null && grid ? "128" : groupSize),
                        "--group-size"),
                new Setting("symmetric", asymmetric ? false : null, "--asymmetric"),
                new Setting("clip", clip, "--clip"),
                new Setting("actOrder", actOrder, "--act-order"),
                new Setting("damping", damping, "--damping"),
                new Setting("rareExperts", rareExperts, "--rare-experts"),
                new Setting("minExpertTokens", minExpertTokens, "--min-expert-tokens"),
                new Setting("keepZeros", keepZeros, "--keep-zeros"),
                new Setting("pattern", pattern, "--pattern"),
                new Setting("sparsity", sparsity, "--sparsity"));
    }

    private static Object number(String text) {
        return text != null && text.matches("[0-9]{1,9}") ? (Object) Integer.valueOf(text) : text;
    }
}
