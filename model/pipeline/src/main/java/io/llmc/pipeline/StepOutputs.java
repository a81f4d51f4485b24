// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/// The directories that a recipe passes through: every step that writes one has its own, beside the
/// output and named after it; the last writes the output. They stay until the whole recipe is done,
/// so that a run that was interrupted finds them again.
final class StepOutputs {
    private final Recipe recipe;
    private final Inputs inputs;
    private final List<OutputDirectory> directories = new ArrayList<>();
    private final List<RunKey> keys = new ArrayList<>();

    StepOutputs(RecipeRun run) {
        this.recipe = run.recipe();
        this.inputs = run.inputs();
        List<Step> writers = recipe.steps().stream().filter(Step::writes).toList();
        OutputDirectory output = new OutputDirectory(recipe.output(), run.force());
        for (int i = 0; i < writers.size(); i++) {
            directories.add(i + 1 < writers.size() ? output.beside("step-" + (i + 1)) : output);
            keys.add(RunKey.of(run, writers.get(i)));
        }
    }

    /// Refuses where an output could never be, whatever lies there.
    void requirePlaces() {
        directories.forEach(directory -> directory.requirePlace(inputs));
    }

    /// Refuses before the first step what any step would refuse.
    void requireUsable() {
        for (int i = 0; i < directories.size(); i++) {
            directories.get(i).requireUsable(keys.get(i));
        }
    }

    /// Where a step reads and writes.
    ///
    /// @param written steps before it that write
    Step.Context place(Step.Context start, Step step, int written) {
        Path model = written == 0 ? recipe.model() : output(written);
        return start.at(model, step.writes() ? output(written + 1) : null);
    }

    /// Whether a step has still to be run; says so where an earlier run has left nothing to do.
    boolean needs(Step step, Step.Context place) {
        if (!step.writes()) {
            if (hasModel(place.model())) {
                return true;
            }
            place.progress().note("what an earlier run has measured is not measured again");
            return false;
        }
        int number = 1 + outputs().indexOf(place.output());
        if (isDone(number, place.model())) {
            place.progress().note("a step that an earlier run finished is not repeated");
            return false;
        }
        return true;
    }

    /// Whether an earlier run has finished a step, from 1, or one after it. The last one has a
    /// result to show, as long as the model that it read is there.
    private boolean isDone(int step, Path model) {
        boolean shown = step == directories.size() && hasModel(model);
        return !shown && IntStream.rangeClosed(step, directories.size()).anyMatch(this::isFinished);
    }

    private boolean isFinished(int step) {
        return directories.get(step - 1).isFinished(keys.get(step - 1));
    }

    /// Whether the recipe writes nothing.
    boolean isEmpty() {
        return directories.isEmpty();
    }

    private List<Path> outputs() {
        return directories.stream().map(OutputDirectory::output).toList();
    }

    private Path output(int step) {
        return directories.get(step - 1).output();
    }

    /// Whether a model on the way is still there: an earlier run may have been interrupted while it
    /// deleted what was not needed any more.
    private boolean hasModel(Path model) {
        return IntStream.rangeClosed(1, directories.size())
                .filter(step -> output(step).equals(model))
                .allMatch(this::isFinished);
    }

    /// The recipe is done: the output alone remains.
    void conclude() {
        for (int i = 0; i + 1 < directories.size(); i++) {
            directories.get(i).delete();
        }
        if (!directories.isEmpty()) {
            directories.getLast().conclude();
        }
    }
}
