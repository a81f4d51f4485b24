// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeclaredOptions;
import io.llmc.cli.options.Declaring;
import io.llmc.cli.options.DeviceOptions;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.RecipeOptions;
import io.llmc.cli.options.RecipeOptions.Request;
import io.llmc.cli.options.SaveOptions;
import io.llmc.cli.options.Setting;
import io.llmc.cli.options.TreatAs;
import io.llmc.distill.DistillStep;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "distill",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Teaches a student its teacher's predictions, as after pruning.",
        footer = {
            "",
            "Example:",
            "  llmc distill testdata/tale-llama -o out --teacher testdata/tale-llama --steps 2"
                    + " --batch 2 \\",
            "      --length 64 --data testdata/tale-llama/calibration.txt"
        })
final class DistillCommand implements Callable<Integer>, Declaring {
    private static final String STEP = "steps.0.distill";

    private final Wiring wiring;
    private final LogOptions log;
    private final DeclaredOptions training =
            new DeclaredOptions(Map.of("distill", DistillStep.FACTORY.options()));

    @Parameters(
            index = "0",
            arity = "0..1",
            paramLabel = "MODEL",
            description =
                    "The student: a directory with config.json and .safetensors files, or a .gguf"
                            + " file.")
    private String model;

    @Mixin private TreatAs reading;

    @Mixin private TeacherCacheOptions cache;

    @Option(
            names = {"-o", "--output"},
            paramLabel = "OUT",
            description = "Directory to make; it gets its name when all is written and verified.")
    private String output;

    @Mixin private SaveOptions save;
    @Mixin private DeviceOptions device;
    @Mixin private RecipeOptions run;

    DistillCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public void declare(CommandSpec command) {
        training.addTo(command, "training");
    }

    @Override
    public Integer call() {
        Request request = run.toRequest();
        RecipeTree tree = cache.saves() ? saving() : learning();
        String step = cache.saves() ? "steps.0.save-teacher" : STEP;
        request.changes().forEach(change -> tree.set(step, change));
        return new RecipeJob(wiring, log.toVerbosity(), device.toDeviceSpec())
                .execute(tree, request);
    }

    private RecipeTree saving() {
        TeacherCacheOptions.refuse(new Setting("model", model, "MODEL"));
        TeacherCacheOptions.refuse(new Setting("output", output, "--output"));
        save.toSettings().forEach(TeacherCacheOptions::refuse);
        RecipeTree tree = cache.toRecipe(settings());
        tree.putAll("", List.of(reading.toSetting()));
        return tree;
    }

    private List<Setting> settings() {
        return training.toSettings("distill");
    }

    private RecipeTree learning() {
        cache.requireNone();
        RecipeTree tree = new RecipeTree("recipe");
        tree.expect("model", "MODEL");
        tree.expect("output", "--output");
        tree.put("model", model, "MODEL");
        tree.putAll("", List.of(reading.toSetting()));
        tree.put("output", output, "--output");
        tree.putAll("", save.toSettings());
        tree.put(STEP, new LinkedHashMap<>(), "distill");
        tree.expect(STEP + ".teacher", "--teacher");
        tree.expect(STEP + ".data", "--data");
        tree.putAll(STEP, settings());
        return tree;
    }
}
