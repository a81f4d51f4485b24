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
import io.llmc.solver.Factor;
import io.llmc.solver.Gram;
import io.llmc.solver.Pattern;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// SparseGPT over calibration data, stage by stage. https://arxiv.org/abs/2301.00774
///
///     - sparsegpt: {sparsity: 0.5, pattern: unstructured, blockSize: 128, damping: 0.01,
///                   allocation: uniform, owlM: 5, owlLambda: 0.08, targets: [], ignore: []}
///
/// @param blockSize columns whose mask is chosen, and whose errors are spread, at once
/// @param damping added to the Hessian's diagonal, as a part of its mean; raised by as much, at least
///   0.01, until its Cholesky factor exists
public record SparseGptPass(
        Pattern pattern, int blockSize, double damping, Allocation allocation, Targets targets)
        implements BlockPass {
    public static final Option<Double> DAMPING =
            Option.decimal(
                            "damping",
                            0.01,
                            "Added to the Hessian's diagonal, as a part of its mean (default: %s).")
                    .within("0 to 1", d -> d >= 0 && d < 1);

    private static final Option<Integer> BLOCK_SIZE =
            Option.integer("blockSize", 128, "Columns pruned at once (default: %s).");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "sparsegpt",
                    "weights whose removal costs least, with the error spread over the others",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                    steps:
                      - sweep:
                          - sparsegpt: {pattern: "2:4", damping: 0.01}
                    """,
                    Option.join(
                            List.of(Pattern.SPARSITY, Pattern.FORM),
                            Allocation.OPTIONS,
                            List.of(BLOCK_SIZE, DAMPING),
                            Targets.OPTIONS),
                    SparseGptPass::read);

    private static BlockPass read(Options o) {
        Pattern pattern = Pattern.read(o, Pattern.FORM, Pattern.SPARSITY);
        SparseGptPass pass =
                new SparseGptPass(
                        pattern,
                        BLOCK_SIZE.read(o),
                        DAMPING.read(o),
                        Allocation.read(o, pattern),
                        Targets.read(o));
        int multiple = pattern instanceof Pattern.NOfM(_, int m) ? m : 1;
        if (pass.blockSize < 1 || pass.blockSize % multiple != 0) {
            throw o.error(
                    "blockSize",
                    "blockSize is %d, expected a positive multiple of %d"
                            .formatted(pass.blockSize, multiple));
        }
        return pass;
    }

    @Override
    public String name() {
        return "sparsegpt";
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
        values.put("block_size", blockSize);
        values.put("damping", damping);
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
        return SparseGptMath.scratchBytes(out, in, blockSize) + Factor.bytes(in);
    }

    @Override
    public long inputBytes(long in) {
        return Gram.bytes(in);
    }

    @Override
    public void apply(BlockScope scope) {
        double sparsity = allocation.sparsity(pattern.sparsity(), scope.index(), scope.survey());
        for (Stage stage : scope.stages()) {
            try (StageInputs<Gram.Sum> inputs = StageInputs.observe(scope, stage, Gram::new)) {
                for (StageInputs.Group<Gram.Sum> g : inputs.groups()) {
                    prune(scope, g, sparsity);
                }
            }
            scope.advance(stage);
        }
    }

    private void prune(BlockScope scope, StageInputs.Group<Gram.Sum> g, double sparsity) {
        try (Desk d = scope.desk().fresh(Factor.bytes(g.in()))) {
            Factor factor = Factor.of(d, g.sum().h(), damping, false);
            for (Linear layer : g.selected()) {
                if (factor == null) {
                    byMagnitude(scope, g, layer, sparsity);
                } else {
                    prune(scope, g, factor, layer, sparsity);
                }
            }
        }
    }

    private void prune(
            BlockScope scope,
            StageInputs.Group<Gram.Sum> g,
            Factor factor,
            Linear layer,
            double sparsity) {
        long start = System.nanoTime();
        SparseGptMath.Result result =
                SparseGptMath.prune(
                        scope.desk(),
                        layer.weight(),
                        g.sum().h(),
                        factor,
                        new SparseGptMath.Settings(pattern, sparsity, blockSize));
        scope.replace(layer, new Weight.Dense(result.values()));
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.put("sparsity", result.sparsity());
        values.put("relative_error", result.error());
        values.put("uncompensated_error", result.uncompensated());
        values.put("damping", factor.damping());
        values.put("dead_inputs", factor.deadInputs());
        values.put("tokens", g.sum().tokens());
        List<String> warnings = new ArrayList<>();
        if (factor.raises() > 0) {
            warnings.add(
                    "damping was raised from %s to %.2f until the Hessian had a Cholesky factor"
                            .formatted(damping, factor.damping()));
        }
        scope.report(
                new ModuleReport(
                        layer.name(), values, (System.nanoTime() - start) / 1e9, warnings));
    }

    /// For a layer whose inputs say nothing.
    private void byMagnitude(
            BlockScope scope, StageInputs.Group<Gram.Sum> g, Linear layer, double sparsity) {
        long start = System.nanoTime();
        Weight w = layer.weight();
        try (Desk d = scope.desk().fresh(4 * w.outFeatures() * w.inFeatures() + 4096)) {
            Sparse.Pruned pruned =
                    Sparse.prune(
                            scope.desk(),
                            Sparse.values(d, w),
                            null,
                            Sparse.rule(
                                    pattern,
                                    sparsity,
                                    Compare.LAYER,
                                    w.outFeatures(),
                                    w.inFeatures()));
            scope.replace(layer, new Weight.Dense(pruned.values()));
            SequencedMap<String, Object> values = new LinkedHashMap<>();
            values.put("method", "magnitude");
            values.put("sparsity", pruned.sparsity());
            values.put("tokens", g.sum().tokens());
            scope.report(
                    new ModuleReport(
                            layer.name(),
                            values,
                            (System.nanoTime() - start) / 1e9,
                            List.of(
                                    "its Hessian over %d tokens has no Cholesky factor; its smallest weights were zeroed"
                                            .formatted(g.sum().tokens()))));
        }
    }
}
