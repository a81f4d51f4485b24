// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.RecipeOptions.Request;
import java.util.LinkedHashMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

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
final class PruneCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    @Mixin private ModelOptions model;
    @Mixin private PruningOptions pruning;
    @Mixin private TargetOptions layers;
    @Mixin private CalibrationOptions calibration;
    @Mixin private OutputOptions output;
    @Mixin private DeviceOptions device;
    @Mixin private RecipeOptions run;

    PruneCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        Request request = run.toRequest();
        RecipeTree tree = new RecipeTree("recipe");
        tree.put("model", model.toPath().toString(), "MODEL");
        tree.putAll("", output.toSettings());
        tree.putAll("calibration", calibration.toSettings());
        tree.expect("calibration", "--calib-data");
        String pass = "steps.0.sweep.0." + pruning.toMethod();
        tree.put(pass, new LinkedHashMap<>(), "--method");
        tree.putAll(pass, pruning.toSettings());
        tree.putAll(pass, layers.toSettings());
        tree.putAll("steps.1.evaluate", pruning.toEvaluation(model.toPath()));
        request.changes().forEach(change -> tree.set(pass, change));
        // What a method lacks is named by its flag.
        pruning.toSettings().forEach(s -> tree.expect(pass + "." + s.key(), s.flag()));
        tree.expect("steps.1.evaluate.data", "--data");
        return new RecipeJob(wiring, log.toVerbosity(), device.toDeviceSpec())
                .execute(tree, request);
    }
}
