// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.tokenizer.TextFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.BiFunction;
import java.util.stream.Stream;

/// Tasks by what names them, with the items of their files.
///
/// @param yaml reads a task file: its name for errors, and its text
public record TaskLibrary(BiFunction<String, String, Options> yaml) {
    /// @param fewshot solved items before each; negative for as many as the task says
    /// @param limit items at most, the first ones; 0 for all
    /// @throws UserException where a file is not there or too short, naming it
    /// @throws io.llmc.formats.FormatException where a line is no item
    Task load(TaskName named, int fewshot, int limit) {
        TaskSpec spec = spec(named);
        if (fewshot >= 0) {
            spec = spec.withShots(fewshot);
        }
        Path data = data(named, spec);
        List<Doc> items = Docs.read(data);
        return new Task(
                spec.name() == null ? named.name() : spec.name(),
                spec,
                limit == 0 ? items : items.subList(0, Math.min(limit, items.size())),
                spec.shots().count() == 0 ? List.of() : solved(named, spec, data));
    }

    private TaskSpec spec(TaskName named) {
        if (named.isBuiltIn()) {
            return TaskSpec.read(
                    yaml.apply("task " + named.task(), BuiltInTasks.text(named.task())));
        }
        return TaskSpec.read(options(Path.of(named.task()), List.of()));
    }

    /// A file's keys, in front of those of the files that it includes, the last of them first.
    ///
    /// @param by the files that have included it, each by the one before it
    private Options options(Path file, List<Path> by) {
        Path place = file.toAbsolutePath().normalize();
        Options own = yaml.apply(file.toString(), TextFiles.read(file));
        if (by.contains(place)) {
            throw own.error("include", "%s includes itself".formatted(file));
        }
        List<Path> on = Stream.concat(by.stream(), Stream.of(place)).toList();
        Options all = own;
        for (String name : own.texts("include").reversed()) {
            all = all.over(options(included(file, name), on));
        }
        return all;
    }

    private static Path included(Path file, String name) {
        Path beside = file.resolveSibling(name);
        if (!Files.isRegularFile(beside)) {
            throw new UserException(
                    "%s: includes %s, and there is no %s".formatted(file, name, beside),
                    "put that file there");
        }
        return beside;
    }

    private static Path data(TaskName named, TaskSpec spec) {
        if (named.data() != null) {
            return named.data();
        }
        if (spec.data() == null) {
            throw new UserException(
                    named.task() + ": names no data",
                    "say data: FILE in it, or pass %s=FILE".formatted(named.task()));
        }
        return Path.of(named.task()).toAbsolutePath().resolveSibling(spec.data());
    }

    private static List<Doc> solved(TaskName named, TaskSpec spec, Path data) {
        if (spec.shots().data() != null) {
            Path own = Path.of(named.task()).toAbsolutePath();
            return Docs.read(own.resolveSibling(spec.shots().data()));
        }
        Path beside = TaskName.beside(data);
        if (!Files.exists(beside)) {
            throw new UserException(
                    "%s: %d solved items are to stand before each, but there is no %s"
                            .formatted(data, spec.shots().count(), beside.getFileName()),
                    "put one there: items of the same form, that are not asked");
        }
        return Docs.read(beside);
    }
}
