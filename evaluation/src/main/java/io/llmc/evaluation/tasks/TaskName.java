// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.formats.UserException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/// What stands in a list of tasks: `FILE`, whose name says which task it holds; `TASK=FILE`; or a
/// task's own file that names its data.
///
/// @param task a built-in name, or a path of a task file
/// @param data null where the task file names it
/// @param name that results have it under
record TaskName(String task, Path data, String name) {
    /// @throws UserException where it names nothing that is there, with the nearest task
    static TaskName of(String text) {
        int equals = text.indexOf('=');
        if (equals > 0 && !Files.exists(Path.of(text))) {
            String task = text.substring(0, equals).strip();
            Path data = Path.of(text.substring(equals + 1).strip());
            requireKnown(task, text);
            return new TaskName(task, data, isFile(task) ? stem(Path.of(task)) : task);
        }
        Path file = Path.of(text);
        if (isFile(text)) {
            return new TaskName(text, null, stem(file));
        }
        String stem = stem(file);
        return BuiltInTasks.beginning(stem)
                .map(task -> new TaskName(task, file, stem))
                .orElseThrow(() ->
                        new UserException(
                                "%s: its name begins with that of no task%s"
                                        .formatted(file, BuiltInTasks.nearest(stem)),
                                "name the task before it, as in arc=" + file));
    }

    private static void requireKnown(String task, String text) {
        if (!isFile(task) && !BuiltInTasks.NAMES.contains(task)) {
            throw new UserException(
                    "%s: there is no task %s%s".formatted(text, task, BuiltInTasks.nearest(task)),
                    "");
        }
    }

    private static boolean isFile(String task) {
        String name = task.toLowerCase(Locale.ROOT);
        return name.endsWith(".yaml") || name.endsWith(".yml");
    }

    private static String stem(Path file) {
        String name = file.getFileName() == null ? "" : file.getFileName().toString();
        int dot = name.lastIndexOf('.');
        return dot > 0 ? name.substring(0, dot) : name;
    }

    boolean isBuiltIn() {
        return !isFile(task);
    }

    /// Where solved items lie that nobody has named: `mmlu.dev.jsonl` beside `mmlu.jsonl`.
    static Path beside(Path data) {
        String name = data.getFileName().toString();
        String stem = stem(data);
        return data.resolveSibling(stem + ".dev" + name.substring(stem.length()));
    }
}
