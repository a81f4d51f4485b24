// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.List;

/// What share of a block's scores, weight times norm of the input, are outliers: OWL,
/// https://arxiv.org/abs/2310.05175.
final class Outliers {
    private Outliers() {}

    /// @param factor a score is an outlier above so many times the block's mean
    @SuppressWarnings("MustBeClosed") // all closed in the end
    static double share(BlockScope scope, double factor) {
        double total = 0;
        double weights = 0;
        double above = 0;
        // The mean is the whole block's, so everything is observed before anything is counted;
        // the sums and the few inputs of a block are small.
        List<StageInputs<InputNorms.Sum>> all = new ArrayList<>();
        try {
            for (Stage stage : scope.stages()) {
                all.add(StageInputs.observe(scope, stage, InputNorms::new));
                scope.advance(stage);
            }
            for (StageInputs<InputNorms.Sum> inputs : all) {
                for (StageInputs.Group<InputNorms.Sum> g : inputs.groups()) {
                    for (Linear layer : g.selected()) {
                        total += sum(scope.desk(), g.sum(), layer);
                        weights +=
                                (double) layer.weight().outFeatures() * layer.weight().inFeatures();
                    }
                }
            }
            float threshold = (float) (factor * total / weights);
            for (StageInputs<InputNorms.Sum> inputs : all) {
                for (StageInputs.Group<InputNorms.Sum> g : inputs.groups()) {
                    for (Linear layer : g.selected()) {
                        above += above(scope.desk(), g.sum(), layer, threshold);
                    }
                }
            }
            return weights == 0 ? 0 : above / weights;
        } finally {
            all.forEach(StageInputs::close);
        }
    }

    /// `sum |w[o,i]| norm[i]`
    private static double sum(Desk desk, InputNorms.Sum inputs, Linear layer) {
        Weight w = layer.weight();
        long in = w.inFeatures();
        try (Desk d = desk.fresh(4 * w.outFeatures() * in + 8 * in + 4096)) {
            Tensor sums = d.allocate(DType.F64, in);
            d.run(new StatisticOp.AccumulateColumnNorms(sums, Sparse.values(d, w), 1));
            double[] columns = d.backend().doubles(sums);
            float[] norms = inputs.norms();
            double total = 0;
            for (int i = 0; i < in; i++) {
                total += columns[i] * norms[i];
            }
            return total;
        }
    }

    private static double above(Desk desk, InputNorms.Sum inputs, Linear layer, float threshold) {
        Weight w = layer.weight();
        long out = w.outFeatures();
        long in = w.inFeatures();
        try (Desk d = desk.fresh(4 * out * in + 4 * in + 8 * out + 8192)) {
            Tensor counts = d.allocate(DType.F64, out);
            Tensor norms = d.floats(inputs.norms());
            d.run(new StatisticOp.CountAbove(counts, Sparse.values(d, w), norms, threshold));
            return d.backend().sum(counts);
        }
    }
}
