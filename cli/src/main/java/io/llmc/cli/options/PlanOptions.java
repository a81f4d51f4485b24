// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.plan.ServingSpec;
import io.llmc.pipeline.plan.Split;
import io.llmc.pipeline.plan.Workload;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Option;

/// Mixin: how and where a model is to be served.
public final class PlanOptions {
    private static final int CONTEXT = 4096;

    @Option(
            names = "--device",
            paramLabel = "NAMES",
            split = ",",
            description =
                    "Devices of the table, or this for this machine, which is measured for some"
                            + " seconds (default: all of the table).")
    private List<String> devices = List.of();

    @Option(
            names = "--table",
            paramLabel = "FILE",
            description = "More devices, in YAML: see docs/plan.md.")
    private Path table;

    @Option(
            names = "--preset",
            paramLabel = "NAMES",
            split = ",",
            description =
                    "What llmc quantize --preset would make of it; none for the model as it is"
                            + " (default: none).")
    private List<String> presets = List.of("none");

    @Option(
            names = "--group-size",
            paramLabel = "N",
            description = "Weights that share a scale, where a preset has groups.")
    private Integer groupSize;

    @Option(
            names = "--cache",
            paramLabel = "TYPE",
            description =
                    "Numbers of the KV cache: f32, bf16, fp8 or int8 (default: as the model says,"
                            + " else bf16).")
    private String cache;

    @Option(
            names = "--context",
            paramLabel = "N",
            description =
                    "Tokens of a request (default: 4096, or the model's positions where these are"
                            + " fewer).")
    private Integer context;

    @Option(
            names = "--batch",
            paramLabel = "LIST",
            split = ",",
            description = "Requests that decode at once (default: 1,8,32).")
    private List<Integer> batches = List.of(1, 8, 32);

    @Option(
            names = "--page",
            paramLabel = "N",
            defaultValue = "16",
            description = "Tokens of a page of the cache (default: ${DEFAULT-VALUE}).")
    private int page;

    @Option(
            names = "--chunk",
            paramLabel = "N",
            defaultValue = "2048",
            description = "Tokens of prompts that are read at once (default: ${DEFAULT-VALUE}).")
    private int chunk;

    @Option(
            names = "--reserve",
            paramLabel = "PART",
            defaultValue = "0.1",
            description = "Part of a device's memory that stays free (default: ${DEFAULT-VALUE}).")
    private double reserve;

    @Option(
            names = "--tp",
            paramLabel = "N",
            defaultValue = "1",
            description = "Devices that share every matrix (default: ${DEFAULT-VALUE}).")
    private int tensor;

    @Option(
            names = "--pp",
            paramLabel = "N",
            defaultValue = "1",
            description = "Groups of them that share the layers (default: ${DEFAULT-VALUE}).")
    private int pipeline;

    @Option(
            names = "--ep",
            paramLabel = "N",
            defaultValue = "1",
            description = "Groups of those that share the experts (default: ${DEFAULT-VALUE}).")
    private int experts;

    @Option(
            names = "--splits",
            paramLabel = "N",
            description = "Compare all ways to lay the model over so many devices.")
    private Integer splits;

    @Option(
            names = "--draft",
            paramLabel = "MODEL",
            description =
                    "Model that drafts for this one: what speculative decoding gains, by"
                            + " --acceptance.")
    private Path draft;

    @Option(
            names = "--acceptance",
            paramLabel = "LIST",
            split = ",",
            description =
                    "Parts of drafted tokens that are taken over, by place, as llmc eval --draft"
                            + " measures them.")
    private List<Double> acceptance = List.of();

    /// The model that drafts; empty where none was asked for.
    ///
    /// @throws RecipeException where one flag is there without the other, or a part is none
    public Optional<Path> toDraft() {
        if (draft == null != acceptance.isEmpty()) {
            throw new RecipeException(
                    draft == null ? "--acceptance" : "--draft",
                    "name both --draft and --acceptance, which llmc eval --draft measures");
        }
        if (draft != null && splits != null) {
            throw new RecipeException(
                    "--splits", "compares splits without a draft: leave out --splits or --draft");
        }
        for (double a : acceptance) {
            if (!(a >= 0 && a <= 1)) {
                throw new RecipeException("--acceptance", "%s is not in [0, 1]".formatted(a));
            }
        }
        return Optional.ofNullable(draft);
    }

    public List<Double> toAcceptance() {
        return acceptance;
    }

    /// Devices over which all splits are compared; empty where one split is asked for.
    ///
    /// @throws RecipeException where there is a split of its own beside
    public Optional<Integer> toSplits() {
        if (splits != null) {
            positive("--splits", splits);
            if (tensor * pipeline * experts > 1) {
                throw new RecipeException(
                        "--splits", "tries every split: leave out --tp, --pp and --ep");
            }
        }
        return Optional.ofNullable(splits);
    }

    /// @throws RecipeException where a number makes no sense
    public ServingSpec toServing(Optional<Integer> own) {
        List.of(tensor, pipeline, experts).forEach(n -> positive("--tp, --pp and --ep", n));
        positive("--page", page);
        positive("--chunk", chunk);
        if (!(reserve >= 0 && reserve < 1)) {
            throw new RecipeException("--reserve", "%s is not in [0, 1)".formatted(reserve));
        }
        return new ServingSpec(
                cache == null ? own.orElse(16) : bits(),
                page,
                chunk,
                reserve,
                new Split(tensor, pipeline, experts));
    }

    private int bits() {
        return switch (cache) {
            case "f32" -> 32;
            case "bf16", "f16" -> 16;
            case "fp8", "int8" -> 8;
            default ->
                    throw new RecipeException(
                            "--cache", "expected f32, bf16, fp8 or int8, not " + cache);
        };
    }

    /// @param positions of the model
    public Workload toWorkload(int positions) {
        int length = context == null ? Math.min(CONTEXT, positions) : context;
        positive("--context", length);
        batches.forEach(batch -> positive("--batch", batch));
        return new Workload(length, batches);
    }

    private static void positive(String flag, int n) {
        if (n < 1) {
            throw new RecipeException(flag, "%d is not a number from 1 on".formatted(n));
        }
    }

    public List<String> toDevices() {
        return devices;
    }

    public Optional<Path> toTable() {
        return Optional.ofNullable(table);
    }

    public List<String> toPresets() {
        return presets;
    }

    public Optional<Integer> toGroupSize() {
        return Optional.ofNullable(groupSize);
    }
}
