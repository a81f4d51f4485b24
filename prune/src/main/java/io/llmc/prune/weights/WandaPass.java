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
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.pipeline.pass.Targets;
import io.llmc.solver.Pattern;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// Wanda: zeroes the weights whose size times the norm of their input is smallest, stage by stage,
/// so that each layer sees the outputs of the pruned layers before it.
/// https://arxiv.org/abs/2306.11695
///
///     - wanda: {sparsity: 0.5, pattern: unstructured, compare: row, allocation: uniform, owlM: 5,
///               owlLambda: 0.08, targets: [], ignore: []}
///
/// @param compare within each output, as the paper has it, or in the whole layer
public record WandaPass(Pattern pattern, Compare compare, Allocation allocation, Targets targets)
        implements BlockPass {
    private static final Option<Compare> COMPARE =
            Option.choice(
                    "compare",
                    Compare.class,
                    Compare.ROW,
                    "Weights compete within a row or a whole layer (default: %s).");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "wanda",
                    "weights times the norms of their inputs, within each output",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                    steps:
                      - sweep:
                          - wanda: {sparsity: 0.5, allocation: owl}
                    """,
                    Option.join(
                            List.of(Pattern.SPARSITY, Pattern.FORM, COMPARE),
                            Allocation.OPTIONS,
                            Targets.OPTIONS),
                    WandaPass::read);

    private static BlockPass read(Options o) {
        Pattern pattern = Pattern.read(o, Pattern.FORM, Pattern.SPARSITY);
        return new WandaPass(
                pattern, COMPARE.read(o), Allocation.read(o, pattern), Targets.read(o));
    }

    @Override
    public String name() {
        return "wanda";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("pattern", pattern.toString());
        values.put("sparsity", pattern.sparsity());
        values.put("compare", Options.spelling(compare));
        values.put("allocation", allocation.describe());
        return values;
    }

    @Override
    public void check(ModelSpec spec) {
        pattern.check(spec, targets);
        allocation.check(spec);
    }

    @Override
    public boolean surveys() {
        return allocation.owl();
    }

    @Override
    public double survey(BlockScope scope) {
        return Outliers.share(scope, allocation.outlier());
    }

    @Override
    public long workBytes(long out, long in) {
        return Sparse.scratchBytes(out, in) + InputNorms.errorBytes(out) + 4 * out * in + 8192;
    }

    @Override
    public long inputBytes(long in) {
        return InputNorms.bytes(in);
    }

    @Override
    public void apply(BlockScope scope) {
        double sparsity = allocation.sparsity(pattern.sparsity(), scope.index(), scope.survey());
        for (Stage stage : scope.stages()) {
            try (StageInputs<InputNorms.Sum> inputs =
                    StageInputs.observe(scope, stage, InputNorms::new)) {
                for (StageInputs.Group<InputNorms.Sum> g : inputs.groups()) {
                    g.selected().forEach(layer -> prune(scope, g.sum(), layer, sparsity));
                }
            }
            scope.advance(stage);
        }
    }

    private void prune(BlockScope scope, InputNorms.Sum inputs, Linear layer, double sparsity) {
        long start = System.nanoTime();
        Weight w = layer.weight();
        long out = w.outFeatures();
        long in = w.inFeatures();
        boolean seen = inputs.tokens() > 0;
        try (Desk d = scope.desk().fresh(4 * out * in + 4 * in + 4096)) {
            Tensor values = Sparse.values(d, w);
            Tensor importance = seen ? d.floats(inputs.norms()) : null;
            Sparse.Pruned pruned =
                    Sparse.prune(
                            scope.desk(),
                            values,
                            importance,
                            Sparse.rule(pattern, sparsity, compare, out, in));
            Weight result = new Weight.Dense(pruned.values());
            SequencedMap<String, Object> report = new LinkedHashMap<>();
            report.put("method", seen ? name() : "magnitude");
            report.put("sparsity", pruned.sparsity());
            if (seen) {
                report.put("relative_error", Sparse.relativeError(d, inputs.sample(), w, result));
            }
            report.put("tokens", inputs.tokens());
            scope.replace(layer, result);
            scope.report(
                    new ModuleReport(
                            layer.name(),
                            report,
                            (System.nanoTime() - start) / 1e9,
                            seen
                                    ? List.of()
                                    : List.of(
                                            "saw no calibration token; its smallest weights were"
                                                    + " zeroed")));
        }
    }
}
