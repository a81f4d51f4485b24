// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.ComparisonOptions;
import io.llmc.cli.options.DeclaredOptions;
import io.llmc.cli.options.Declaring;
import io.llmc.cli.options.DeviceOptions;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.MethodOptions;
import io.llmc.cli.options.ModelOptions;
import io.llmc.cli.options.OutputOptions;
import io.llmc.cli.options.RecipeOptions;
import io.llmc.cli.options.RecipeOptions.Request;
import io.llmc.pipeline.Recipe;
import io.llmc.prune.PrunePasses;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;

@Command(
        name = "prune",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description =
                "Zeroes weights of a model, or takes channels, heads, experts or layers out of it.",
        footer = {
            "",
            "Example:",
            "  llmc prune testdata/tale-llama -o out --method wanda --sparsity 0.5 \\",
            "      --calib-data testdata/tale-llama/calibration.txt"
        })
final class PruneCommand implements Callable<Integer>, Declaring {
    private final Wiring wiring;
    private final LogOptions log;
    private final DeclaredOptions calibration =
            new DeclaredOptions(Map.of("calibration", Recipe.CALIBRATION));
    private final MethodOptions method = new MethodOptions(PrunePasses.ALL, List.of(), "sparsegpt");

    @Mixin private ModelOptions model;
    @Mixin private ComparisonOptions comparison;
    @Mixin private OutputOptions output;
    @Mixin private DeviceOptions device;
    @Mixin private RecipeOptions run;

    PruneCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public void declare(CommandSpec command) {
        method.addTo(command);
        calibration.addTo(command, "calibration");
    }

    @Override
    public Integer call() {
        Request request = run.toRequest();
        RecipeTree tree = new RecipeTree("recipe");
        tree.putAll("", model.toSettings());
        tree.putAll("", output.toSettings());
        tree.putAll("calibration", calibration.toSettings("calibration"));
        tree.expect("calibration", "--calib-data");
        tree.putAll("", method.toSettings());
        tree.putAll("steps.1.evaluate", comparison.toSettings(model.toPath()));
        request.changes().forEach(c -> method.toItems(c).forEach(item -> tree.set(item, c)));
        // What a method lacks is named by its flag.
        method.toSettings().forEach(s -> tree.expect(s.key(), s.flag()));
        tree.expect("steps.1.evaluate.data", "--data");
        return new RecipeJob(wiring, log.toVerbosity(), device.toDeviceSpec())
                .execute(tree, request);
    }
}
