// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.Sizes;
import java.util.List;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// Mixin: how a recipe is run.
final class RecipeOptions {
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
            names = "--print-recipe",
            description = "Print the recipe for llmc run; change nothing.")
    private boolean printRecipe;

    @Option(
            names = "--memory",
            paramLabel = "SIZE",
            converter = SizeConverter.class,
            description =
                    "Most memory to use outside the Java heap, as 800M or 6G (default: no cap). Less memory takes longer and"
                            + " gives the same result.")
    private Long memory;

    Request toRequest() {
        Mode mode = printRecipe ? Mode.PRINT : dryRun ? Mode.PLAN : Mode.RUN;
        return new Request(set, memory == null ? Long.MAX_VALUE : memory, force, mode);
    }

    /// What to do with a recipe.
    enum Mode {
        RUN,
        PLAN,
        PRINT
    }

    /// @param changes `key=value`
    /// @param memory bytes outside the Java heap at most
    /// @param force replace what is there
    record Request(List<String> changes, long memory, boolean force, Mode mode) {}

    static final class SizeConverter implements ITypeConverter<Long> {
        @Override
        public Long convert(String text) {
            try {
                return Sizes.parse(text);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }
}
