// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: how a recipe is run.
public final class RecipeOptions {
    @Option(
            names = "--set",
            paramLabel = "KEY=VALUE",
            description =
                    "Set one more value of the recipe; may be repeated. With run, KEY is a path as"
                            + " steps.0.sweep.0.gptq.bits, otherwise an option of the method.")
    private List<String> set = List.of();

    @Option(
            names = "--force",
            description = "Replace an output that is there already, and start anew.")
    private boolean force;

    @Option(names = "--dry-run", description = "Show layers, sizes and memory; change nothing.")
    private boolean dryRun;

    @Option(
            names = "--rehearse",
            description =
                    "First do a little of the work again and again for some seconds, to say how long"
                            + " all of it will take.")
    private boolean rehearse;

    @Option(
            names = "--print-recipe",
            description = "Print the recipe for llmc run; change nothing.")
    private boolean printRecipe;

    public Request toRequest() {
        Mode mode = printRecipe ? Mode.PRINT : dryRun ? Mode.PLAN : Mode.RUN;
        return new Request(set, force, rehearse, mode);
    }

    /// What to do with a recipe.
    public enum Mode {
        RUN,
        PLAN,
        PRINT
    }

    /// @param changes `key=value`
    /// @param force replace what is there
    /// @param rehearse say first how long it will take
    public record Request(List<String> changes, boolean force, boolean rehearse, Mode mode) {}
}
