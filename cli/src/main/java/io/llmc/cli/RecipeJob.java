// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.DeviceOptions.DeviceSpec;
import io.llmc.cli.LogOptions.Verbosity;
import io.llmc.cli.RecipeOptions.Request;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Recipe;
import java.util.List;

/// What commands do with a recipe once it is a tree: print it, plan it or run it.
record RecipeJob(Wiring wiring, Verbosity verbosity) {
    /// @return the exit code
    int execute(RecipeTree tree, Request request, DeviceSpec device) {
        return execute(tree, List.of(), request, device);
    }

    /// @param more that is read besides what the recipe names
    int execute(RecipeTree tree, List<Input> more, Request request, DeviceSpec device) {
        Recipe recipe = Recipe.read(tree.options(), wiring.passes(), wiring.works(), tree.root());
        Console console = new Console(wiring, verbosity);
        Inputs inputs = Inputs.of(recipe).with(more);
        console.requireUnread(inputs);
        RecipeRunner runner =
                new RecipeRunner(wiring, device, inputs, request.force(), console.progress());
        switch (request.mode()) {
            case PRINT -> console.result(RecipeFile.write(tree.root()), tree.root());
            case PLAN -> {
                RecipeRunner.Plan plan = runner.plan(recipe);
                PlanReport report = new PlanReport(recipe, plan.sweep(), plan.needs());
                console.result(report.text(console.verbose()), report.json());
            }
            case RUN ->
                    runner.run(
                            recipe,
                            results -> {
                                RunReport report = new RunReport(results);
                                console.result(report.text(console.verbose()), report.json());
                            });
        }
        return ExitCode.OK;
    }
}
