// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.LogOptions;
import io.llmc.cli.options.PlanOptions;
import io.llmc.cli.options.TreatAs;
import io.llmc.cli.report.DraftingReport;
import io.llmc.cli.report.ServingReport;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.plan.DeviceTable;
import io.llmc.pipeline.plan.ModelCost;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

@Command(
        name = "plan",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = {
            "Says what a model takes on a device before any work; reads headers only.",
            "Before a job, as plan quantize MODEL -o OUT: what that job takes here."
        },
        footer = {
            "",
            "Example:",
            "  llmc plan testdata/tale-llama --device h100,rtx4090 --preset none,fp8"
        })
final class PlanCommand implements Callable<Integer> {
    private final Wiring wiring;
    private final LogOptions log;

    @Parameters(
            index = "0",
            arity = "0..1",
            paramLabel = "MODEL",
            description = "Model directory, .gguf file, or a config.json alone.")
    private Path model;

    @Mixin private TreatAs reading;

    @Mixin private PlanOptions plan;

    PlanCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        if (model == null) {
            throw new RecipeException("MODEL", "name a model, or a job behind plan");
        }
        Console console = new Console(wiring, log.toVerbosity());
        Optional<Integer> splits = plan.toSplits();
        Optional<Path> draft = plan.toDraft();
        DeviceTable table = DeviceFile.read(plan.toTable());
        Progress progress = console.progress();
        MeasuredDevices here = new MeasuredDevices(wiring.devices(), progress);
        try (PlannedModel planned = PlannedModel.open(reading.toModels(model), progress::note)) {
            ServingReport report =
                    ServingReport.of(
                            model,
                            planned.costs(plan.toPresets(), plan.toGroupSize()),
                            plan.toServing(planned.cacheBits()),
                            plan.toWorkload(planned.positions()),
                            () -> here.named(plan.toDevices(), table));
            if (draft.isPresent()) {
                drafting(console, report, draft.get());
            } else {
                console.result(report.text(splits), report.json(splits));
            }
        }
        return ExitCode.OK;
    }

    /// What a draft would gain, of every way in which the model may be kept.
    private void drafting(Console console, ServingReport report, Path draft) {
        try (PlannedModel drafting =
                PlannedModel.open(reading.toModels(draft), console.progress()::note)) {
            ModelCost cost =
                    drafting.costs(List.of(PlannedModel.AS_IT_IS), Optional.empty())
                            .values()
                            .iterator()
                            .next();
            int words = report.models().values().iterator().next().spec().vocabulary();
            if (cost.spec().vocabulary() != words) {
                throw new RecipeException(
                        "--draft",
                        "%s has %d words, the model has %d: a draft needs the model's own"
                                .formatted(draft, cost.spec().vocabulary(), words));
            }
            DraftingReport gains = new DraftingReport(report, draft, cost, plan.toAcceptance());
            console.result(gains.text(), gains.json());
        }
    }
}
