// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeclaredOptions;
import io.llmc.pipeline.Option;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;

/// The flags of a step that a command takes beside others: where one of them is given, the step is
/// one of the command's.
final class StepFlags {
    private final String name;
    private final DeclaredOptions options;

    /// @param name of the step
    /// @param own its options, without those that are the command's
    StepFlags(String name, List<Option<?>> own) {
        this.name = name;
        this.options = new DeclaredOptions(Map.of(name, own));
    }

    void addTo(CommandSpec command) {
        options.addTo(command, name);
    }

    /// What was given; empty for nothing.
    Optional<RecipeTree> given() {
        RecipeTree tree = new RecipeTree(name);
        tree.putAll("", options.toSettings(name));
        return tree.root().isEmpty() ? Optional.empty() : Optional.of(tree);
    }
}
