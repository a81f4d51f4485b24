// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeclaredOptions;
import io.llmc.cli.options.Declaring;
import io.llmc.cli.options.DeviceOptions;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.MethodOptions;
import io.llmc.cli.options.ModelOptions;
import io.llmc.cli.options.OutputOptions;
import io.llmc.cli.options.RecipeOptions;
import io.llmc.cli.options.RecipeOptions.Request;
import io.llmc.cli.report.PresetTable;
import io.llmc.pipeline.Recipe;
import io.llmc.quantize.Presets;
import io.llmc.quantize.QuantizePasses;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;

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
final class QuantizeCommand implements Callable<Integer>, Declaring {
    /// What becomes of a packed model that is to be plain, whatever method is asked for.
    private static final String UNPACK = "steps.0.sweep.0.unpack";

    private final Wiring wiring;
    private final LogOptions log;
    private final DeclaredOptions calibration =
            new DeclaredOptions(Map.of("calibration", Recipe.CALIBRATION));
    private final MethodOptions method = new MethodOptions(QuantizePasses.ALL, Presets.ALL, "gptq");

    @Mixin private ModelOptions model;
    @Mixin private OutputOptions output;
    @Mixin private DeviceOptions device;
    @Mixin private RecipeOptions run;

    QuantizeCommand(Wiring wiring, LogOptions log) {
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
        if (method.toList()) {
            PresetTable table = new PresetTable(Presets.ALL, QuantizePasses.ALL);
            new Console(wiring, log.toVerbosity()).result(table.text(), table.json());
            return ExitCode.OK;
        }
        Request request = run.toRequest();
        RecipeTree tree = new RecipeTree("recipe");
        tree.putAll("", model.toSettings());
        tree.putAll("", output.toSettings());
        if (output.toDense() && model.toPacked()) { // what is packed is not again
            tree.put(UNPACK, new LinkedHashMap<>(), MethodOptions.METHOD);
            tree.putAll(UNPACK, method.toTargets());
            request.changes().forEach(change -> tree.set(UNPACK, change));
        } else {
            tree.putAll("calibration", calibration.toSettings("calibration"));
            tree.expect("calibration", "--calib-data");
            tree.putAll("", method.toSettings());
            request.changes().forEach(c -> method.toItems(c).forEach(item -> tree.set(item, c)));
        }
        return new RecipeJob(wiring, log.toVerbosity(), device.toDeviceSpec())
                .execute(tree, request);
    }
}
