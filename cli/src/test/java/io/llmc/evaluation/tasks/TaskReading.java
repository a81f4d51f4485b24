// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.cli.TaskFiles;
import java.nio.file.Path;

/// Reads a task as an evaluation does.
public final class TaskReading {
    private TaskReading() {}

    /// Every item as a question.
    public static void questions(Path task, Path data) {
        Task read = TaskFiles.library().load(TaskName.of(task + "=" + data), -1, 0);
        Questions questions = read.questions();
        read.items().forEach(questions::of);
    }

    /// The task's own file.
    public static String builtIn(String name) {
        return BuiltInTasks.text(name);
    }
}
