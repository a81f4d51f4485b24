// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeclaredOptions;
import io.llmc.evaluation.tasks.TasksStep;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;

/// The tasks that a model is put to.
final class TaskOptions {
    /// `--against` is the command's own: it is for texts as well.
    private static final List<Option<?>> OWN =
            TasksStep.OPTIONS.stream().filter(o -> !o.key().equals("against")).toList();

    private final DeclaredOptions options = new DeclaredOptions(Map.of(TasksStep.NAME, OWN));

    void addTo(CommandSpec command) {
        options.addTo(command, TasksStep.NAME);
    }

    /// Empty where no flag is about tasks.
    ///
    /// @param against the original; null for none
    Optional<Step> toStep(Path against) {
        RecipeTree tree = new RecipeTree(TasksStep.NAME);
        tree.expect("files", "--tasks");
        tree.putAll("", options.toSettings(TasksStep.NAME));
        if (tree.root().isEmpty()) {
            return Optional.empty();
        }
        tree.put("against", against == null ? null : against.toString(), "--against");
        return Optional.of(TasksStep.read(tree.options(), RecipeFile::options));
    }
}
