// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.solver.Pattern;
import java.util.Arrays;
import java.util.List;

/// How much of each block is pruned.
///
/// @param perBlock explicit sparsities; empty for none
/// @param owl by the share of outliers in each block: OWL, https://arxiv.org/abs/2310.05175
/// @param outlier a weight's score is an outlier where it is above so many times the block's mean
/// @param spread sparsities differ from the one asked for by at most this
public record Allocation(List<Double> perBlock, boolean owl, double outlier, double spread) {
    private static final Option<List<String>> SHARES =
            Option.list(
                    "allocation",
                    "HOW",
                    "Uniform (default), owl, which spares blocks with many outliers, or a sparsity"
                            + " for each block, as 0.3,0.5,0.6.");

    private static final Option<Double> OUTLIER =
            Option.decimal(
                            "owlM",
                            5.0,
                            "Owl: a score is an outlier above so many times its block's mean (default:"
                                    + " %s).")
                    .withoutFlag();

    private static final Option<Double> SPREAD =
            Option.decimal(
                            "owlLambda",
                            0.08,
                            "Owl: no sparsity is further from the one asked for (default: %s).")
                    .withoutFlag();

    static final List<Option<?>> OPTIONS = List.of(SHARES, OUTLIER, SPREAD);

    static Allocation read(Options o, Pattern pattern) {
        List<String> given = SHARES.read(o);
        double outlier = OUTLIER.read(o);
        double spread = SPREAD.read(o);
        boolean owl = given.equals(List.of("owl"));
        boolean uniform = given.isEmpty() || given.equals(List.of("uniform"));
        List<Double> perBlock = List.of();
        if (!owl && !uniform) {
            try {
                perBlock = given.stream().map(Double::valueOf).toList();
            } catch (NumberFormatException e) {
                throw o.error(
                        "allocation",
                        "allocation is %s, expected uniform, owl or one sparsity a block"
                                .formatted(String.join(",", given)));
            }
            if (perBlock.stream().anyMatch(s -> !(s >= 0 && s <= 1))) {
                throw o.error(
                        "allocation",
                        "allocation is %s, expected sparsities of 0 to 1"
                                .formatted(String.join(",", given)));
            }
        }
        if (!uniform && pattern instanceof Pattern.NOfM) {
            throw o.error(
                    "allocation",
                    "pattern %s gives every block the same sparsity; leave allocation out"
                            .formatted(pattern));
        }
        if (!(outlier > 0) || !(spread >= 0 && spread < 1)) {
            throw o.error(
                    "owlM",
                    "owlM is %s and owlLambda %s, expected above 0, and 0 to 1"
                            .formatted(outlier, spread));
        }
        return new Allocation(perBlock, owl, outlier, spread);
    }

    /// @throws UserException where the list is as long as another model
    void check(ModelSpec spec) {
        if (!perBlock.isEmpty() && perBlock.size() != spec.layers().size()) {
            throw new UserException(
                    "allocation lists %d sparsities, but the model has %d blocks"
                            .formatted(perBlock.size(), spec.layers().size()),
                    "list one for each block, the first block's first");
        }
    }

    /// @param shares of outliers in every block; null where there was no survey
    public double sparsity(double wanted, int block, double[] shares) {
        if (!perBlock.isEmpty()) {
            return perBlock.get(block);
        }
        if (!owl) {
            return wanted;
        }
        double min = Arrays.stream(shares).min().orElse(0);
        double max = Arrays.stream(shares).max().orElse(0);
        double mean = Arrays.stream(shares).average().orElse(0);
        // Blocks with many outliers keep more; the mean over blocks stays what was asked for.
        double kept = max > min ? (shares[block] - mean) / (max - min) * 2 * spread : 0;
        return Math.clamp(wanted - kept, 0, 1);
    }

    Object describe() {
        return owl ? "owl" : perBlock.isEmpty() ? "uniform" : perBlock;
    }
}
