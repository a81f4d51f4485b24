// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.PassFactory;
import io.llmc.prune.PrunePasses;
import java.util.Iterator;
import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: what is taken out of a model, and how it is found.
final class PruningOptions {
    @Option(
            names = "--method",
            paramLabel = "NAME",
            defaultValue = "sparsegpt",
            completionCandidates = Names.class,
            description = "${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    private String method;

    @Option(
            names = "--sparsity",
            paramLabel = "X",
            description =
                    "magnitude, wanda, sparsegpt: part of the weights to zero, 0 to 1 (default: 0.5).")
    private Double sparsity;

    @Option(
            names = "--pattern",
            paramLabel = "P",
            description =
                    "magnitude, wanda, sparsegpt: unstructured (default), or N:M, as 2:4, which keeps N"
                            + " of every M weights.")
    private String pattern;

    @Option(
            names = "--compare",
            paramLabel = "HOW",
            description =
                    "magnitude, wanda: weights compete within a row (wanda's default) or a whole layer"
                            + " (magnitude's).")
    private String compare;

    @Option(
            names = "--allocation",
            paramLabel = "HOW",
            description =
                    "magnitude, wanda, sparsegpt: uniform (default), owl, which spares blocks with many"
                            + " outliers, or a sparsity for each block, as 0.3,0.5,0.6.")
    private String allocation;

    @Option(
            names = "--block-size",
            paramLabel = "N",
            description = "sparsegpt: columns pruned at once (default: 128).")
    private Integer blockSize;

    @Option(
            names = "--damping",
            paramLabel = "X",
            description =
                    "sparsegpt, width: added to the Hessian's diagonal, as a part of its mean (default:"
                            + " 0.01).")
    private Double damping;

    @Option(names = "--drop", paramLabel = "N", description = "layers: number of blocks to drop.")
    private Integer drop;

    @Option(
            names = "--score",
            paramLabel = "HOW",
            description =
                    "layers: block-influence (default) drops the blocks that turn their input least;"
                            + " angular, a run of blocks that does; greedy, one by one, the block"
                            + " without which perplexity is best, each at the cost of about half as many"
                            + " passes as there are blocks.")
    private String score;

    @Option(
            names = "--layers",
            paramLabel = "LIST",
            description =
                    "layers: the blocks to drop, from 0, as 20,21,22; instead of --drop, and without"
                            + " calibration data.")
    private String layers;

    @Option(
            names = "--data",
            paramLabel = "FILE",
            description =
                    "Text to measure perplexity on, before and after; not the calibration text.")
    private String data;

    @Option(
            names = "--window",
            paramLabel = "N",
            description = "Tokens in a window of --data (default: 512).")
    private Integer window;

    @Option(
            names = "--max-windows",
            paramLabel = "N",
            description = "Windows of --data at most (default: all).")
    private Integer maxWindows;

    String toMethod() {
        return method;
    }

    List<Setting> toSettings() {
        return List.of(
                new Setting("sparsity", sparsity, "--sparsity"),
                new Setting("pattern", pattern, "--pattern"),
                new Setting("compare", compare, "--compare"),
                new Setting("allocation", Setting.items(allocation), "--allocation"),
                new Setting("blockSize", blockSize, "--block-size"),
                new Setting("damping", damping, "--damping"),
                new Setting("drop", drop, "--drop"),
                new Setting("score", score, "--score"),
                new Setting("layers", Setting.items(layers), "--layers"));
    }

    /// Puts a step that measures the model as it is before the pruning, where it was asked for.
    ///
    /// @return the index of the next step
    int measureBefore(RecipeTree tree) {
        return measure(tree, 0) ? 1 : 0;
    }

    void measureAfter(RecipeTree tree, int step) {
        measure(tree, step + 1);
    }

    private boolean measure(RecipeTree tree, int step) {
        tree.putAll(
                "steps." + step + ".evaluate",
                List.of(
                        new Setting("data", data, "--data"),
                        new Setting("window", window, "--window"),
                        new Setting("maxWindows", maxWindows, "--max-windows")));
        return data != null;
    }

    static final class Names implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return PrunePasses.ALL.stream().map(PassFactory::name).iterator();
        }
    }
}
