// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.Targets;
import io.llmc.solver.Pattern;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Scheme;
import java.util.List;

/// The options of [GptqPass], and the rules between them.
final class GptqOptions {
    private static final Option<Clip> CLIP =
            Option.choice(
                    "clip",
                    Clip.class,
                    Clip.HESSIAN,
                    "Search each group's range before rounding: hessian, mse or none (default:"
                            + " %s).");

    private static final Option<ActOrder> ACT_ORDER =
            Option.choice(
                    "actOrder",
                    ActOrder.class,
                    ActOrder.STATIC,
                    "Round important columns first: static keeps groups contiguous, group does not,"
                            + " none keeps the order of the columns (default: %s).");

    private static final Option<Double> DAMPING =
            Option.decimal(
                            "damping",
                            0.01,
                            "Added to the Hessian's diagonal, as a part of its mean (default: %s).")
                    .within("0 to 1", d -> d >= 0 && d < 1);

    private static final Option<Integer> BLOCK_SIZE =
            Option.integer("blockSize", 128, "Columns rounded at once (default: %s).")
                    .withoutFlag()
                    .within("a positive number", n -> n >= 1);

    private static final Option<RareExperts> RARE_EXPERTS =
            Option.choice(
                    "rareExperts",
                    RareExperts.class,
                    RareExperts.RTN,
                    "An expert that saw too few tokens is rounded to nearest (rtn) or is an error"
                            + " (fail) (default: %s).");

    private static final Option<Integer> MIN_EXPERT_TOKENS =
            Option.integer(
                    "minExpertTokens",
                    128,
                    "Fewer tokens than this make an expert rare (default: %s).");

    private static final Option<KeepZeros> KEEP_ZEROS =
            Option.choice(
                    "keepZeros",
                    KeepZeros.class,
                    KeepZeros.AUTO,
                    "Weights that are zero stay zero: auto, in layers that were pruned; always or"
                            + " never (default: %s).");

    private static final Option<String> FORM =
            Option.text(
                            "pattern",
                            "unstructured",
                            "Prune in the same loop: N:M, as 2:4, with act-order none; or unstructured,"
                                    + " with a sparsity (default: do not prune).")
                    .as("P");

    private static final Option<Double> SPARSITY =
            Option.decimal(
                            "sparsity",
                            null,
                            "Part of the weights to zero in the same loop, 0 to 1.")
                    .within("0 to 1", s -> s >= 0 && s <= 1);

    private static final Option<Integer> REFIT =
            Option.integer(
                            "refit",
                            0,
                            "Sweeps over all codes and scales after rounding, each set to the best while"
                                    + " the others stay (default: %s).")
                    .within("0 to 100", n -> n >= 0 && n <= 100);

    private static final Option<Double> CORRECTION =
            Option.decimal(
                            "correction",
                            0.0,
                            "Round weights that make up for the layers before them: part of the way to"
                                    + " the original model's outputs, 0 to 1 (default: %s).")
                    .within("0 to 1", c -> c >= 0 && c <= 1);

    private static final Option<Double> SHRINKAGE =
            Option.decimal(
                            "shrinkage",
                            0.0,
                            "Draw correlations of inputs towards none by this part, against learning"
                                    + " few calibration tokens by heart (default: %s).")
                    .within("0 to 1", s -> s >= 0 && s <= 1);

    static final List<Option<?>> ALL =
            Option.join(
                    GridOptions.SCHEMES,
                    List.of(CLIP, ACT_ORDER, DAMPING, SHRINKAGE, BLOCK_SIZE, REFIT, CORRECTION),
                    GridOptions.SEARCH,
                    List.of(RARE_EXPERTS, MIN_EXPERT_TOKENS, KEEP_ZEROS, FORM, SPARSITY),
                    Targets.OPTIONS);

    private GptqOptions() {}

    static GptqPass read(Options o) {
        Scheme scheme = GridOptions.scheme(o);
        GptqPass pass =
                new GptqPass(
                        scheme,
                        ACT_ORDER.read(o),
                        DAMPING.read(o),
                        SHRINKAGE.read(o),
                        BLOCK_SIZE.read(o),
                        CLIP.read(o),
                        GridOptions.search(o, scheme),
                        RARE_EXPERTS.read(o),
                        MIN_EXPERT_TOKENS.read(o),
                        KEEP_ZEROS.read(o),
                        Pattern.read(o, FORM, SPARSITY),
                        REFIT.read(o),
                        CORRECTION.read(o),
                        Targets.read(o));
        requireFits(o, pass);
        if (pass.pattern() instanceof Pattern.NOfM(_, int m)) {
            if (pass.actOrder() != ActOrder.NONE) {
                throw o.error(
                        "pattern",
                        "pattern %s needs neighbours in their order: set actOrder to none"
                                .formatted(pass.pattern()));
            }
            if (pass.blockSize() % m != 0) {
                throw o.error(
                        "blockSize",
                        "blockSize is %d, expected a multiple of %d"
                                .formatted(pass.blockSize(), m));
            }
        }
        return pass;
    }

    private static void requireFits(Options o, GptqPass pass) {
        if (pass.clip() == Clip.OUTPUT) {
            throw o.error(
                    "clip",
                    "clip is output, which is rtn's; gptq weighs errors by its Hessian: expected"
                            + " hessian, mse or none");
        }
        boolean ints = pass.grid().codes() instanceof Codes.Ints;
        if (pass.groupIndex() && !ints) {
            throw o.error(
                    "actOrder",
                    "actOrder is group, and no layout says the group of each input for %s; use static or none"
                            .formatted(pass.grid().describe()));
        }
        if (pass.refit() > 0 && pass.pattern() != null) {
            throw o.error(
                    "refit",
                    "refit moves codes, so it would fill the zeros of a pattern: leave one out");
        }
        if (pass.refit() > 0 && (pass.actOrder() == ActOrder.GROUP || !ints)) {
            throw o.error(
                    "refit",
                    ints
                            ? "refit wants groups of neighbours: set actOrder to static"
                            : "refit goes over integer codes, and those of %s are none"
                                    .formatted(pass.grid().describe()));
        }
        if (pass.correction() > 0 && pass.ranged()) {
            throw o.error(
                    "correction",
                    "correction does not find the ranges of inputs that are rounded with fixed scales:"
                            + " leave it out, or let inputs have scales of their own");
        }
    }
}
