// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.SweepPlan;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// What a sweep did.
///
/// @param plan what it set out to do
/// @param reports one a layer and pass, in order
/// @param resumedBlocks finished blocks that an earlier, interrupted run had left
/// @param weightFiles written
/// @param sideFiles copied
/// @param verifiedTensors compared, after re-opening, with what was in memory
/// @param seconds of the whole sweep
public record SweepResult(
        SweepPlan plan,
        Path output,
        List<ModuleReport> reports,
        int resumedBlocks,
        List<Path> weightFiles,
        List<Path> sideFiles,
        int verifiedTensors,
        double seconds)
        implements Step.Outcome {
    /// Whether some layer lies on a grid.
    public boolean packs() {
        return plan.modules().stream().anyMatch(m -> m.scheme().isPresent());
    }

    /// Weights that were pruned.
    public long zeros() {
        Map<String, Double> sparsity = new HashMap<>();
        for (ModuleReport r : reports) {
            if (r.values().get("sparsity") instanceof Number share) {
                sparsity.put(r.module(), share.doubleValue());
            }
        }
        return plan.modules().stream()
                .mapToLong(m -> Math.round(sparsity.getOrDefault(m.name(), 0.0) * m.out() * m.in()))
                .sum();
    }

    /// Over the layers that a method worked on, scales and zero points included.
    public double bitsPerWeight() {
        List<SweepPlan.Module> modules =
                plan.modules().stream().filter(m -> m.scheme().isPresent()).toList();
        double weights = modules.stream().mapToDouble(m -> (double) m.out() * m.in()).sum();
        return 8.0 * modules.stream().mapToLong(SweepPlan.Module::bytes).sum() / weights;
    }

    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> figures = new LinkedHashMap<>();
        figures.put("output", output.toString());
        figures.put("input_bytes", plan.inputBytes());
        figures.put("output_bytes", plan.outputBytes());
        figures.put("input_parameters", plan.inputParameters());
        figures.put("output_parameters", plan.outputParameters());
        figures.put("zeros", zeros());
        if (packs()) {
            figures.put("bits_per_weight", bitsPerWeight());
        }
        figures.put("weight_files", weightFiles.stream().map(Path::toString).toList());
        figures.put("side_files", sideFiles.stream().map(Path::toString).toList());
        figures.put("verified_tensors", verifiedTensors);
        figures.put("resumed_blocks", resumedBlocks);
        figures.put("seconds", seconds);
        figures.put("notes", plan.notes());
        figures.put("modules", reports.stream().map(SweepResult::figures).toList());
        return figures;
    }

    private static Map<String, Object> figures(ModuleReport report) {
        Map<String, Object> figures = new LinkedHashMap<>();
        figures.put("module", report.module());
        figures.putAll(report.values());
        figures.put("seconds", report.seconds());
        figures.put("warnings", report.warnings());
        return figures;
    }
}
