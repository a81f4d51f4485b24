// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.model.arch.Models;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Supplier;

/// One item of a recipe's `steps`: it reads a model directory, and measures it or writes another.
public interface Step {
    /// What people call it: `distill`.
    String name();

    /// What it reads besides the model that the step before it has left.
    default List<Inputs.Input> inputs() {
        return List.of();
    }

    /// Whether it reads the recipe's calibration data.
    default boolean calibrates() {
        return false;
    }

    /// Whether it writes a directory, which the steps behind it read.
    default boolean writes() {
        return true;
    }

    /// Whether it writes what only goes with the model that it read, so that no other step can come
    /// before or after it.
    default boolean standsAlone() {
        return false;
    }

    /// Whether it compresses block by block, which takes weights that are not packed.
    default boolean sweeps() {
        return false;
    }

    /// Whether it rounds weights, which a layout may then pack.
    default boolean rounds() {
        return false;
    }

    /// The layout of what it writes where the recipe names none; empty for the usual one of all.
    default Optional<String> usualLayout() {
        return Optional.empty();
    }

    /// Names of the numbers among its figures, those within objects joined by dots; empty where
    /// only the work tells them.
    default Optional<Set<String>> figureNames() {
        return Optional.empty();
    }

    /// What names in its part of the recipe stand for.
    default SequencedMap<String, Object> expanded() {
        return new LinkedHashMap<>();
    }

    /// Refuses what cannot be, whatever the steps before it leave. [#plan] does so, too.
    ///
    /// What will only be measured, the model that is there already can be measured on: there
    /// planning is the check.
    ///
    /// @param context with the recipe's own model
    /// @throws io.llmc.formats.UserException where it could never run
    default void check(Context context) {
        if (!writes()) {
            plan(context).close();
        }
    }

    /// What it will do with a model that is there, from headers alone.
    ///
    /// @throws io.llmc.formats.UserException where [Plan#run] would fail before its first work, or
    ///   the memory is too little, with the least that works
    Plan plan(Context context);

    /// A step that is ready to run. What it read to plan with stays open until it is closed.
    interface Plan extends AutoCloseable {
        /// Bytes outside the Java heap that it takes at most.
        long bytes();

        /// How long [#run] will take here, found by doing a little of it, which takes seconds
        /// itself; empty where nobody can tell.
        default Optional<Estimate> estimate() {
            return Optional.empty();
        }

        /// What it will write; empty where it does not sweep.
        default Optional<SweepPlan> sizes() {
            return Optional.empty();
        }

        /// Measures, or writes and publishes the output; the caller concludes it.
        Outcome run();

        /// May be called twice.
        @Override
        default void close() {}

        /// @param bytes that the work takes
        static Plan of(long bytes, Supplier<Outcome> work) {
            return of(bytes, Optional::empty, work);
        }

        /// @param estimate does a little of the work to tell how long all of it takes
        static Plan of(long bytes, Supplier<Optional<Estimate>> estimate, Supplier<Outcome> work) {
            return new Plan() {
                @Override
                public long bytes() {
                    return bytes;
                }

                @Override
                public Optional<Estimate> estimate() {
                    return estimate.get();
                }

                @Override
                public Outcome run() {
                    return work.get();
                }
            };
        }
    }

    /// What a step gave.
    interface Outcome {
        /// Figures with JSON values, under their names in snake case.
        SequencedMap<String, Object> figures();
    }

    /// @param values figures with JSON values, for people too; a number that is not finite becomes
    ///   null
    record Written(String step, Path output, SequencedMap<String, Object> values)
            implements Outcome {
        public Written {
            values = Finite.figures(values);
        }

        @Override
        public SequencedMap<String, Object> figures() {
            SequencedMap<String, Object> figures = new LinkedHashMap<>();
            figures.put("output", output.toString());
            figures.putAll(values);
            return figures;
        }
    }

    /// Where a step works.
    ///
    /// @param run that the step belongs to
    /// @param memory bytes outside the Java heap at most; `Long.MAX_VALUE` for no cap
    /// @param model to read
    /// @param output to write; without meaning for a step that writes none
    record Context(
            RecipeRun run,
            Backend backend,
            long memory,
            Progress progress,
            Path model,
            Path output) {
        public Recipe recipe() {
            return run.recipe();
        }

        public Inputs inputs() {
            return run.inputs();
        }

        /// Opens the model that it reads, and others that it names.
        public Models models() {
            return new Models(model, recipe().treatAs());
        }

        public String toolVersion() {
            return run.version();
        }

        /// The directory to write, as far as an earlier run has come with it.
        public OutputDirectory directory() {
            return new OutputDirectory(output, run.force());
        }

        /// The journal of this step's output, begun or continued.
        ///
        /// @param bytes that the output will take
        public Journal begin(OutputDirectory directory, Step step, long bytes) {
            return directory.begin(RunKey.of(run, step), bytes);
        }

        Context quietly(long cap) {
            return new Context(run, backend, cap, Progress.NONE, model, output);
        }

        Context at(Path otherModel, Path otherOutput) {
            return new Context(run, backend, memory, progress, otherModel, otherOutput);
        }
    }

    /// A step by its name in a recipe.
    ///
    /// @param name the key, `save-teacher`
    /// @param options of its mapping
    /// @param sample a recipe that uses it, as documentation and as a test
    /// @param read makes the step of the mapping that holds the key
    record Factory(
            String name,
            String summary,
            String sample,
            List<Option<?>> options,
            Function<Options, ? extends Step> read) {}
}
