// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.RecipeOptions.Request;
import java.util.LinkedHashMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "distill",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Teaches a student its teacher's predictions, as after pruning.",
        footer = {
            "",
            "Example:",
            "  llmc distill testdata/tale-llama -o out --teacher testdata/tale-llama --steps 2 --batch 2 \\",
            "      --length 64 --data testdata/tale-llama/calibration.txt"
        })
final class DistillCommand implements Callable<Integer> {
    private static final String STEP = "steps.0.distill";

    private final Wiring wiring;
    private final LogOptions log;

    @Mixin private ModelOptions model;
    @Mixin private TrainingOptions training;
    @Mixin private OutputOptions output;
    @Mixin private DeviceOptions device;
    @Mixin private RecipeOptions run;

    DistillCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        Request request = run.toRequest();
        RecipeTree tree = new RecipeTree("recipe");
        tree.put("model", model.toPath().toString(), "MODEL");
        tree.putAll("", output.toSettings());
        tree.put(STEP, new LinkedHashMap<>(), "distill");
        tree.expect(STEP + ".teacher", "--teacher");
        tree.expect(STEP + ".data", "--data");
        tree.putAll(STEP, training.toSettings());
        request.changes().forEach(change -> tree.set(STEP, change));
        return new RecipeJob(wiring, log.toVerbosity())
                .execute(tree, request, device.toDeviceSpec());
    }
}
