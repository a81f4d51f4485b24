// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.pipeline.BlockScope;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/// How active the inputs of a stage's layers are, as Minitron counts it: the mean of their sizes
/// over each sequence, squared and summed over sequences.
final class Activity {
    private Activity() {}

    /// For the first layer of every group. Tokens of an expert count as one sequence a chunk.
    static Map<Linear, double[]> observe(BlockScope scope, Stage stage) {
        Map<Linear, double[]> found = new IdentityHashMap<>();
        scope.observe(
                stage,
                (layers, x) -> {
                    double[] sum =
                            found.computeIfAbsent(
                                    layers.getFirst(), _ -> new double[(int) x.cols()]);
                    long length = stage.routed() ? x.rows() : scope.sequenceLength();
                    for (long row = 0; row < x.rows(); row += length) {
                        add(scope, sum, x.rows(row, row + length));
                    }
                });
        return found;
    }

    private static void add(BlockScope scope, double[] sum, Tensor sequence) {
        try (TensorArena scratch = scope.backend().newArena(8 * sequence.cols() + 512)) {
            Tensor sizes = scratch.allocate(DType.F64, new Shape(sequence.cols()));
            scope.run(new StatisticOp.AccumulateColumnNorms(sizes, sequence, 1));
            double[] totals = scope.backend().doubles(sizes);
            for (int i = 0; i < totals.length; i++) {
                double mean = totals[i] / sequence.rows();
                sum[i] += mean * mean;
            }
        }
    }

    static double[] of(Map<Linear, double[]> activity, List<Linear> group) {
        return activity == null ? null : activity.get(group.getFirst());
    }
}
