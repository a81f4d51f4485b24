// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.RecipeOptions.Request;
import java.util.LinkedHashMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "quantize",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Stores the weights of a model's linear layers in fewer bits.",
        footer = {
            "",
            "Example:",
            "  llmc quantize testdata/tale-llama -o out --method gptq --bits 4 --group-size 64 \\",
            "      --calib-data testdata/tale-llama/calibration.txt"
        })
final class QuantizeCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    @Mixin private ModelOptions model;
    @Mixin private MethodOptions method;
    @Mixin private QuantizationOptions quantization;
    @Mixin private TargetOptions layers;
    @Mixin private CalibrationOptions calibration;
    @Mixin private OutputOptions output;
    @Mixin private DeviceOptions device;
    @Mixin private RecipeOptions run;

    QuantizeCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        Request request = run.toRequest();
        boolean plain = output.toDense() && model.toPacked();
        String name = plain ? MethodOptions.UNPACK : method.toName();
        String pass = "steps.0.sweep.0." + name;
        RecipeTree tree = new RecipeTree("recipe");
        tree.put("model", model.toPath().toString(), "MODEL");
        tree.putAll("", output.toSettings());
        boolean rounds = !plain; // what is packed is not rounded again
        if (rounds) {
            tree.putAll("calibration", calibration.toSettings());
            tree.expect("calibration", "--calib-data");
        }
        tree.put(pass, new LinkedHashMap<>(), "--method");
        if (rounds) {
            tree.putAll(pass, quantization.toSettings());
        }
        tree.putAll(pass, layers.toSettings());
        request.changes().forEach(change -> tree.set(pass, change));
        return new RecipeJob(wiring, log.toVerbosity(), device.toDeviceSpec())
                .execute(tree, request);
    }
}
