// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.List;

/// The options that every grid quantizer reads.
final class GridOptions {
    private static final Option<NamedScheme> SCHEME =
            Option.choice(
                            "scheme",
                            NamedScheme.class,
                            null,
                            "A grid and the rounding of inputs by name, as fp8-dynamic; where it has"
                                    + " groups of integers, {bits}, {groupSize} and"
                                    + " {symmetric} change it.")
                    .as("NAME");

    private static final Option<Integer> BITS =
            Option.integer("bits", 4, "Bits a weight: 2 to 8 (default: %s).")
                    .statedUnless("scheme");

    private static final Option<String> GROUP_SIZE =
            Option.numberOrWord(
                            "groupSize",
                            "128",
                            "Weights of a row that share a scale, or channel for the whole row"
                                    + " (default: %s).")
                    .statedUnless("scheme");

    private static final Option<Boolean> SYMMETRIC =
            Option.flag("symmetric", true, "Give every group a zero point.")
                    .flagged("--asymmetric");

    private static final Option<Integer> CLIP_STEPS =
            Option.integer(
                            "clipSteps",
                            CompressionOp.GridSearch.DEFAULT.steps(),
                            "Ranges that clip tries, the whole one first (default: %s).")
                    .withoutFlag();

    private static final Option<Integer> CLIP_GRID =
            Option.integer(
                            "clipGrid",
                            CompressionOp.GridSearch.DEFAULT.grid(),
                            "Each range that clip tries is shorter than the one before it by this"
                                    + " part of the whole (default: %s).")
                    .withoutFlag();

    private static final Option<Double> CLIP_NORM =
            Option.decimal(
                            "clipNorm",
                            (double) CompressionOp.GridSearch.DEFAULT.norm(),
                            "Power of the errors that clip adds up (default: %s).")
                    .withoutFlag();

    private static final Option<Boolean> SIGNED_SCALES =
            Option.flag(
                            "signedScales",
                            true,
                            "No group's scale is negative. A symmetric grid has one code more below"
                                    + " zero than above; clip tries both directions where inputs"
                                    + " are not rounded, too.")
                    .flagged("--positive-scales");

    /// Of a grid of integers.
    static final List<Option<?>> GRID = List.of(BITS, GROUP_SIZE, SYMMETRIC);

    /// Of any grid.
    static final List<Option<?>> SCHEMES = Option.join(List.of(SCHEME), GRID);

    /// Of the search of each group's range.
    static final List<Option<?>> SEARCH = List.of(SIGNED_SCALES, CLIP_STEPS, CLIP_GRID, CLIP_NORM);

    private GridOptions() {}

    /// The scheme that is named, as changed by what is said beside it; or a grid of integers.
    static Scheme scheme(Options o) {
        NamedScheme named = SCHEME.read(o);
        if (named == null) {
            return Scheme.of(spec(o));
        }
        Scheme scheme = named.scheme();
        if (scheme.weights() instanceof Encoding.Grid<?>(Codes.Ints usual, Tiles tiles, _)) {
            int bits = o.has("bits") ? BITS.read(o) : usual.bits();
            int group = o.has("groupSize") ? groupSize(o) : tiles.cols();
            boolean symmetric = o.has("symmetric") ? SYMMETRIC.read(o) : usual.symmetric();
            return new Scheme(ints(o, bits, group, symmetric), scheme.inputs());
        }
        requireIntegers(o, scheme, GRID);
        return scheme;
    }

    /// Refuses options that only grids of integers have.
    static void requireIntegers(Options o, Scheme scheme, List<Option<?>> options) {
        if (scheme.weights() instanceof Encoding.Grid<?>(Codes.Ints _, _, _)) {
            return;
        }
        for (Option<?> option : options) {
            if (o.has(option.key())) {
                throw o.error(
                        option.key(),
                        "%s is for grids of integers, and scheme %s rounds weights to %s; leave one of them out"
                                .formatted(
                                        option.key(),
                                        Options.spelling(SCHEME.read(o)),
                                        scheme.weights().describe()));
            }
        }
    }

    static Encoding.Grid<Codes.Ints> spec(Options o) {
        return ints(o, BITS.read(o), groupSize(o), SYMMETRIC.read(o));
    }

    private static int groupSize(Options o) {
        String group = GROUP_SIZE.read(o);
        try {
            return group.equals("channel") || group.equals("-1")
                    ? Tiles.ALL
                    : Integer.parseInt(group);
        } catch (NumberFormatException e) {
            throw o.error(
                    "groupSize", "groupSize is %s, expected a number or channel".formatted(group));
        }
    }

    private static Encoding.Grid<Codes.Ints> ints(
            Options o, int bits, int group, boolean symmetric) {
        try {
            return Encoding.ints(bits, group, symmetric);
        } catch (IllegalArgumentException e) {
            throw o.error(e.getMessage().startsWith("bits") ? "bits" : "groupSize", e.getMessage());
        }
    }

    /// GPTQ's own `mse` search is 80, 100 and 2.4.
    static CompressionOp.GridSearch search(Options o, Scheme scheme) {
        int steps = CLIP_STEPS.read(o);
        int grid = CLIP_GRID.read(o);
        double norm = CLIP_NORM.read(o);
        // Kernels for integers on both sides make integers of scales by the largest of them
        // (docs/adr/0033-signed-scales.md).
        boolean signs = SIGNED_SCALES.read(o) && scheme.inputs().isEmpty();
        try {
            return new CompressionOp.GridSearch(steps, grid, (float) norm, signs);
        } catch (IllegalArgumentException e) {
            throw o.error("clipSteps", e.getMessage());
        }
    }
}
