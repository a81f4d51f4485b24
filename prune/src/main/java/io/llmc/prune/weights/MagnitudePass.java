// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.backend.Desk;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.solver.Pattern;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// Zeroes the smallest weights: needs no data, and is the baseline that every other pruner must
/// beat.
///
///     - magnitude: {sparsity: 0.5, pattern: unstructured, compare: layer, allocation: uniform,
///                   targets: [], ignore: []}
public record MagnitudePass(
        Pattern pattern, Compare compare, Allocation allocation, Targets targets)
        implements BlockPass {
    private static final Option<Compare> COMPARE =
            Option.choice(
                    "compare",
                    Compare.class,
                    Compare.LAYER,
                    "Weights compete within a row or a whole layer (default: %s).");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "magnitude",
                    "zeroes the smallest weights; no calibration data",
                    """
                    model: testdata/tale-llama
                    output: out
                    steps:
                      - sweep:
                          - magnitude: {pattern: "2:4"}
                    """,
                    Option.join(
                            List.of(Pattern.SPARSITY, Pattern.FORM, COMPARE),
                            Allocation.OPTIONS,
                            Targets.OPTIONS),
                    MagnitudePass::read);

    private static BlockPass read(Options o) {
        Pattern pattern = Pattern.read(o, Pattern.FORM, Pattern.SPARSITY);
        Allocation allocation = Allocation.read(o, pattern);
        if (allocation.owl()) {
            throw o.error(
                    "allocation", "owl needs calibration data, which magnitude has not; use wanda");
        }
        return new MagnitudePass(pattern, COMPARE.read(o), allocation, Targets.read(o));
    }

    @Override
    public String name() {
        return "magnitude";
    }

    @Override
    public boolean calibrates() {
        return false;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("pattern", pattern.toString());
        values.put("sparsity", pattern.sparsity());
        return values;
    }

    @Override
    public void check(ModelSpec spec) {
        pattern.check(spec, targets);
        allocation.check(spec);
    }

    @Override
    public long workBytes(long out, long in) {
        return Sparse.scratchBytes(out, in);
    }

    @Override
    public void apply(BlockScope scope) {
        double sparsity = allocation.sparsity(pattern.sparsity(), scope.index(), null);
        for (Stage stage : scope.stages()) {
            for (Linear layer : stage.linears()) {
                if (scope.selected(layer)) {
                    prune(scope, layer, sparsity);
                }
            }
        }
    }

    private void prune(BlockScope scope, Linear layer, double sparsity) {
        long start = System.nanoTime();
        Weight w = layer.weight();
        try (Desk d = scope.desk().fresh(4 * w.outFeatures() * w.inFeatures() + 4096)) {
            Sparse.Pruned pruned =
                    Sparse.prune(
                            scope.desk(),
                            Sparse.values(d, w),
                            null,
                            Sparse.rule(
                                    pattern, sparsity, compare, w.outFeatures(), w.inFeatures()));
            scope.replace(layer, new Weight.Dense(pruned.values()));
            SequencedMap<String, Object> report = new LinkedHashMap<>();
            report.put("method", name());
            report.put("sparsity", pruned.sparsity());
            scope.report(
                    new ModuleReport(
                            layer.name(), report, (System.nanoTime() - start) / 1e9, List.of()));
        }
    }
}
