// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.evaluation.gate.Gates;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.BiFunction;

/// Puts questions with known answers to the model as it is after the steps before.
///
/// @param library reads tasks
/// @param files as [TaskName] reads them
/// @param against the original; null for none
/// @param fewshot solved items before each; negative for as many as the task says
/// @param limit items of each task; 0 for all
/// @param maxLength ids that a model sees at once; 0 for all its positions
public record TasksStep(
        TaskLibrary library,
        List<String> files,
        Path against,
        int fewshot,
        int limit,
        int maxLength)
        implements Step {
    public static final String NAME = "tasks";

    private static final Option<List<String>> FILES =
            Option.texts(
                            "files",
                            "FILE,..",
                            "Questions with known answers: files whose names begin with that of a"
                                    + " task (%s), TASK=FILE, or task files (.yaml)."
                                            .formatted(String.join(", ", BuiltInTasks.NAMES)))
                    .flagged("--tasks");

    private static final Option<Path> AGAINST =
            Option.path(
                    "against",
                    "ORIGINAL",
                    "Model that this one was made from: shows which answers changed.");

    private static final Option<Integer> FEWSHOT =
            Option.integer(
                            "fewshot",
                            null,
                            "Solved items before each, from the file .dev beside the data (default:"
                                    + " as the task says).")
                    .within("0 or more", n -> n >= 0);

    private static final Option<Integer> LIMIT =
            Option.integer("limit", 0, "Only the first items of each task (default: all).")
                    .within("0 for all items, or more", n -> n >= 0);

    private static final Option<Integer> MAX_LENGTH =
            Option.integer(
                            "maxLength",
                            0,
                            "Tokens of a question at most; longer ones lose their beginning"
                                    + " (default: the model's positions).")
                    .within("0 for the model's positions, or more", n -> n >= 0);

    public static final List<Option<?>> OPTIONS =
            List.of(FILES, AGAINST, FEWSHOT, LIMIT, MAX_LENGTH);

    /// @param yaml reads a task file: its name for errors, and its text
    public static Step.Factory factory(BiFunction<String, String, Options> yaml) {
        return new Step.Factory(
                NAME,
                "questions with known answers, as lm-eval asks them",
                """
                model: testdata/tale-llama
                output: out
                steps:
                  - tasks: {files: testdata/tasks/piqa.jsonl, limit: 2}
                """,
                OPTIONS,
                o -> read(o.section(NAME), yaml));
    }

    public static TasksStep read(Options o, BiFunction<String, String, Options> yaml) {
        Integer fewshot = FEWSHOT.read(o);
        return new TasksStep(
                new TaskLibrary(yaml),
                FILES.required(o),
                AGAINST.read(o),
                fewshot == null ? -1 : fewshot,
                LIMIT.read(o),
                MAX_LENGTH.read(o));
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public boolean writes() {
        return false;
    }

    @Override
    public List<Input> inputs() {
        List<Input> inputs = new ArrayList<>();
        for (TaskName task : names()) {
            if (task.data() != null) {
                inputs.add(new Input("a task's data", task.data(), false));
            }
            if (!task.isBuiltIn()) {
                inputs.add(new Input("a task", Path.of(task.task()), false));
            }
        }
        if (against != null) {
            inputs.add(new Input("the original", against, false));
        }
        return inputs;
    }

    @Override
    public Optional<Set<String>> figureNames() {
        List<TaskResult> blank =
                tasks().stream()
                        .map(task -> TaskResult.blank(task.name(), task.spec(), against != null))
                        .toList();
        TasksResult result = new TasksResult(Path.of(""), against, blank);
        return Optional.of(Gates.numbers(result.figures()).keySet());
    }

    private List<Task> tasks() {
        return names().stream().map(name -> library.load(name, fewshot, limit)).toList();
    }

    private List<TaskName> names() {
        return files.stream().map(TaskName::of).toList();
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public Plan plan(Context context) {
        List<Task> tasks = tasks();
        Set<String> names = new HashSet<>();
        for (Task task : tasks) {
            if (!names.add(task.name())) {
                throw new UserException(
                        "two tasks would be called %s in the result".formatted(task.name()),
                        "give one of the files another name");
            }
        }
        return new TasksJob(
                context.models(),
                against,
                tasks,
                maxLength,
                context.backend(),
                context.memory(),
                context.progress());
    }
}
