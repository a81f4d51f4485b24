// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.cli.options.DeviceOptions.DeviceSpec;
import io.llmc.cli.options.LogOptions.Verbosity;
import io.llmc.cli.options.RecipeOptions.Mode;
import io.llmc.cli.options.RecipeOptions.Request;
import io.llmc.cli.report.PlanReport;
import io.llmc.cli.report.RunReport;
import io.llmc.cli.terminal.Durations;
import io.llmc.cli.terminal.Interruption;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Inputs.Input;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeRun;
import io.llmc.pipeline.RecipeRun.Preview;
import java.util.List;

/// What commands do with a recipe once it is a tree: print it, plan it or run it.
record RecipeJob(Wiring wiring, Verbosity verbosity, DeviceSpec device, List<Input> more) {
    /// @param more that is read besides what the recipe names
    RecipeJob {}

    RecipeJob(Wiring wiring, Verbosity verbosity, DeviceSpec device) {
        this(wiring, verbosity, device, List.of());
    }

    /// @return the exit code
    int execute(RecipeTree tree, Request request) {
        Recipe recipe = Recipe.read(tree.options(), wiring.steps(), tree.root());
        Console console = new Console(wiring, verbosity);
        Inputs inputs = Inputs.of(recipe).with(more);
        console.requireUnread(inputs);
        RecipeRun run = new RecipeRun(recipe, inputs, wiring.version(), request.force());
        Progress progress = console.progress();
        switch (wiring.plans() ? Mode.PLAN : request.mode()) {
            case PRINT -> console.result(RecipeFile.write(tree.root()), tree.root());
            case PLAN -> {
                run.requireUsable();
                try (Backend backend = wiring.devices().open(device, progress)) {
                    boolean timed = wiring.plans() || request.rehearse();
                    double begun = Durations.sinceStart();
                    Preview preview = run.preview(backend, memory(), progress, timed);
                    PlanReport report = new PlanReport(recipe, preview, begun);
                    console.result(report.text(console.verbose()), report.json());
                }
            }
            case RUN -> {
                run.requirePlaces();
                try (Backend backend = wiring.devices().open(device, progress);
                        Interruption _ = new Interruption(wiring.err())) {
                    run.run(
                            backend,
                            memory(),
                            progress,
                            request.rehearse(),
                            result -> {
                                RunReport report = new RunReport(result);
                                console.result(report.text(console.verbose()), report.json());
                            });
                }
            }
        }
        return ExitCode.OK;
    }

    private long memory() {
        return device.options().memory();
    }
}
