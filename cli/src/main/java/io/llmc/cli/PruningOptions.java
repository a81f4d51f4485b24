// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.prune.PrunePasses;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: what is taken out of a model, and how it is found.
final class PruningOptions {
    private static final Methods METHODS = new Methods(PrunePasses.ALL);

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
                    "magnitude, wanda, sparsegpt: part of the weights to zero, 0 to 1 (default:"
                            + " 0.5).")
    private Double sparsity;

    @Option(
            names = "--pattern",
            paramLabel = "P",
            description =
                    "magnitude, wanda, sparsegpt: unstructured (default), or N:M, as 2:4, which"
                            + " keeps N of every M weights.")
    private String pattern;

    @Option(
            names = "--compare",
            paramLabel = "HOW",
            description =
                    "magnitude, wanda: weights compete within a row (wanda's default) or a whole"
                            + " layer (magnitude's).")
    private String compare;

    @Option(
            names = "--allocation",
            paramLabel = "HOW",
            description =
                    "magnitude, wanda, sparsegpt: uniform (default), owl, which spares blocks with"
                            + " many outliers, or a sparsity for each block, as 0.3,0.5,0.6.")
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
                    "sparsegpt, width: added to the Hessian's diagonal, as a part of its mean"
                            + " (default: 0.01).")
    private Double damping;

    @Option(names = "--drop", paramLabel = "N", description = "layers: number of blocks to drop.")
    private Integer drop;

    @Option(
            names = "--score",
            paramLabel = "HOW",
            description =
                    "layers: block-influence (default) drops the blocks that turn their input"
                            + " least; angular, a run of blocks that does; greedy, one by one, the"
                            + " block without which perplexity is best, each at the cost of about half"
                            + " as many passes as there are blocks.")
    private String score;

    @Option(
            names = "--layers",
            paramLabel = "LIST",
            description =
                    "layers: the blocks to drop, from 0, as 20,21,22; instead of --drop, and"
                            + " without calibration data.")
    private String layers;

    @Option(
            names = "--ffn",
            paramLabel = "X",
            description =
                    "width: feed-forward channels that stay: a part of them, as 0.75, or their"
                            + " number.")
    private String ffn;

    @Option(
            names = "--heads",
            paramLabel = "X",
            description = "width: query heads that stay, equally many of each KV head.")
    private String heads;

    @Option(
            names = "--kv-groups",
            paramLabel = "X",
            description = "width: KV heads that stay, each with its query heads.")
    private String kvGroups;

    @Option(
            names = "--importance",
            paramLabel = "HOW",
            description =
                    "width: what counts: obs (default), the error that a removal leaves when the"
                            + " rest makes up for it; wanda; or activation.")
    private String importance;

    @Option(names = "--no-refit", description = "width: leave the weights that stay as they are.")
    private boolean noRefit;

    @Option(
            names = "--multiple-of",
            paramLabel = "N",
            description = "width: round the number of channels to it (default: 64).")
    private Integer multipleOf;

    @Option(
            names = "--hidden",
            paramLabel = "N",
            description = "slice: channels of the residual stream that stay.")
    private Integer hidden;

    @Option(
            names = "--keep",
            paramLabel = "N",
            description = "experts: how many stay in each block.")
    private Integer keep;

    @Option(
            names = "--to",
            paramLabel = "N",
            description = "kv-heads: how many there are in the end.")
    private Integer to;

    @Option(
            names = "--weighted",
            description =
                    "kv-heads: heads count by the activity of their outputs (default: all alike).")
    private Boolean weighted;

    @Option(
            names = "--data",
            paramLabel = "FILE",
            description =
                    "Text to compare the result with the original on, when done: perplexity and"
                            + " divergence.")
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

    /// @throws io.llmc.pipeline.RecipeException where no pruner has this name
    String toMethod() {
        return METHODS.require(method);
    }

    List<Setting> toSettings() {
        return List.of(
                new Setting("sparsity", sparsity, "--sparsity"),
                new Setting("pattern", pattern, "--pattern"),
                new Setting("compare", compare, "--compare"),
                Setting.list("allocation", allocation, "--allocation"),
                new Setting("blockSize", blockSize, "--block-size"),
                new Setting("damping", damping, "--damping"),
                new Setting("drop", drop, "--drop"),
                new Setting("score", score, "--score"),
                Setting.list("layers", layers, "--layers"),
                new Setting("hidden", hidden, "--hidden"),
                new Setting("ffn", ffn, "--ffn"),
                new Setting("heads", heads, "--heads"),
                new Setting("kvGroups", kvGroups, "--kv-groups"),
                new Setting("importance", importance, "--importance"),
                new Setting("refit", noRefit ? false : null, "--no-refit"),
                new Setting("multipleOf", multipleOf, "--multiple-of"),
                new Setting("keep", keep, "--keep"),
                new Setting("to", to, "--to"),
                new Setting("weighted", weighted, "--weighted"));
    }

    /// The step that measures what was lost; none of them is given where nothing is to be measured.
    ///
    /// @param original to compare with
    List<Setting> toEvaluation(Path original) {
        return List.of(
                new Setting("data", data, "--data"),
                new Setting("against", data == null ? null : original.toString(), "--data"),
                new Setting("window", window, "--window"),
                new Setting("maxWindows", maxWindows, "--max-windows"));
    }

    static final class Names implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return METHODS.iterator();
        }
    }
}
