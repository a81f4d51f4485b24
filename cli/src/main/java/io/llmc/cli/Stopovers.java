// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Journal;
import io.llmc.pipeline.OutputDirectory;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.Recipe.Evaluate;
import io.llmc.pipeline.Recipe.Step;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/// The directories that a recipe passes through: every step that writes one has its own, beside the
/// output and named after it; the last writes the output. They stay until the whole recipe is done,
/// so that a run that was interrupted finds them again.
final class Stopovers {
    private final Recipe recipe;
    private final Inputs inputs;
    private final List<OutputDirectory> directories = new ArrayList<>();
    private final List<Journal.Head> heads = new ArrayList<>();

    Stopovers(Recipe recipe, Inputs inputs, String version, boolean force) {
        this.recipe = recipe;
        this.inputs = inputs;
        List<Step> writers =
                recipe.steps().stream().filter(step -> !(step instanceof Evaluate)).toList();
        OutputDirectory output = new OutputDirectory(recipe.output(), force);
        for (int i = 0; i < writers.size(); i++) {
            directories.add(i + 1 < writers.size() ? output.beside("step-" + (i + 1)) : output);
            heads.add(Journal.Head.of(version, recipe, writers.get(i)));
        }
    }

    /// Refuses where an output could never be, whatever lies there.
    void requirePlaces() {
        directories.forEach(directory -> directory.requirePlace(inputs));
    }

    /// Refuses before the first step what any step would refuse.
    void requireUsable() {
        for (int i = 0; i < directories.size(); i++) {
            directories.get(i).requireUsable(heads.get(i), inputs);
        }
    }

    /// Whether an earlier run has finished a step, from 1, or one after it. The last one has a
    /// result to show, as long as the model that it read is there.
    boolean isDone(int step) {
        boolean shown = step == directories.size() && hasModel(model(step - 1));
        return !shown && IntStream.rangeClosed(step, directories.size()).anyMatch(this::isFinished);
    }

    private boolean isFinished(int step) {
        return directories.get(step - 1).isFinished(heads.get(step - 1), inputs);
    }

    /// Whether the recipe writes nothing.
    boolean isEmpty() {
        return directories.isEmpty();
    }

    /// The directory of a step, from 1.
    Path output(int step) {
        return directories.get(step - 1).output();
    }

    /// Where the model lies after so many steps that write one.
    Path model(int steps) {
        return steps == 0 ? recipe.model() : output(steps);
    }

    /// Whether a model on the way is still there: an earlier run may have been interrupted while it
    /// deleted what was not needed any more.
    boolean hasModel(Path model) {
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
