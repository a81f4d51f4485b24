// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.evaluation.tasks.TasksStep;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;

/// The tasks that a model is put to.
final class TaskOptions {
    /// `--against` is the command's own: it is for texts as well.
    private static final List<Option<?>> OWN =
            TasksStep.OPTIONS.stream().filter(o -> !o.key().equals("against")).toList();

    private final StepFlags flags = new StepFlags(TasksStep.NAME, OWN);

    void addTo(CommandSpec command) {
        flags.addTo(command);
    }

    /// Empty where no flag is about tasks.
    ///
    /// @param against the original; null for none
    Optional<Step> toStep(Path against) {
        return flags.given()
                .map(tree -> {
                    tree.expect("files", "--tasks");
                    tree.put("against", against == null ? null : against.toString(), "--against");
                    return TasksStep.read(tree.options(), RecipeFile::options);
                });
    }
}
