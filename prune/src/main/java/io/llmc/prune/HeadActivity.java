// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.pipeline.BlockScope;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.List;

/// How active the heads of K and V are on the calibration sequences: the mean square of what the
/// projection, with its bias, gives each.
final class HeadActivity {
    private HeadActivity() {}

    /// What each head counts in the mean of its group: its part of the group's activity.
    ///
    /// @return `[heads]` for each of the layers
    static List<float[]> shares(BlockScope scope, List<KvHeads> layers, int ratio) {
        long bytes = layers.stream().mapToLong(l -> 8 * l.rows() + 256).sum();
        try (TensorArena arena = scope.backend().newArena(bytes)) {
            List<Tensor> sums = new ArrayList<>();
            for (KvHeads l : layers) {
                sums.add(arena.allocate(DType.F64, new Shape(l.rows())));
            }
            scope.observe(
                    Stages.reach(scope, layers.getFirst().layer().name()),
                    (_, x) -> {
                        for (int i = 0; i < layers.size(); i++) {
                            addSquares(scope.backend(), layers.get(i), sums.get(i), x);
                        }
                    });
            List<float[]> shares = new ArrayList<>();
            for (int i = 0; i < layers.size(); i++) {
                double[] squares = scope.backend().doubles(sums.get(i));
                shares.add(shares(layers.get(i), squares, ratio));
            }
            return shares;
        }
    }

    private static void addSquares(Backend backend, KvHeads heads, Tensor sums, Tensor x) {
        long all = heads.queries() + heads.rows();
        try (TensorArena scratch = backend.newArena(8 * x.rows() * all + 4096)) {
            Tensor weight = heads.weight().rows(heads.queries(), all);
            Tensor y = scratch.allocate(DType.F32, new Shape(x.rows(), heads.rows()));
            backend.run(new ForwardOp.Matmul(y, x, new Weight.Dense(weight)));
            if (heads.bias() != null) {
                Tensor column = heads.bias().reshape(all, 1).rows(heads.queries(), all);
                Tensor sum = scratch.allocate(DType.F32, y.shape());
                backend.run(new ForwardOp.AddRow(sum, y, column.reshape(heads.rows())));
                y = sum;
            }
            backend.run(new StatisticOp.AccumulateColumnNorms(sums, y, 2));
        }
    }

    private static float[] shares(KvHeads heads, double[] squares, int ratio) {
        double[] activity = new double[heads.heads()];
        for (int r = 0; r < squares.length; r++) {
            activity[r / heads.headDim()] += squares[r];
        }
        float[] shares = heads.equalShares(ratio);
        for (int g = 0; g < shares.length; g += ratio) {
            double sum = 0;
            for (int h = g; h < g + ratio; h++) {
                sum += activity[h];
            }
            // Heads that are all silent count alike.
            for (int h = g; sum > 0 && h < g + ratio; h++) {
                shares[h] = (float) (activity[h] / sum);
            }
        }
        return shares;
    }
}
