// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.model.Stage;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.prune.shared.ColumnNorms;
import io.llmc.prune.shared.Stages;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.List;
import java.util.stream.IntStream;

/// How active the heads of K and V are on the calibration sequences: the mean square of what the
/// projection, with its bias, gives each.
record HeadActivity(List<KvHeads> layers) implements Observer<LayerInput, List<ColumnNorms>> {
    /// What each head counts in the mean of its group: its part of the group's activity.
    ///
    /// @return `[heads]` for each of the layers
    static List<float[]> shares(BlockScope scope, List<KvHeads> layers, int ratio) {
        Stage stage = Stages.reach(scope, layers.getFirst().layer().name());
        try (var sums = scope.observe(stage, new HeadActivity(layers))) {
            List<ColumnNorms> squares = sums.total();
            return IntStream.range(0, layers.size())
                    .mapToObj(i -> shares(layers.get(i), squares.get(i).values(), ratio))
                    .toList();
        }
    }

    @Override
    public long bytes() {
        return layers.stream().mapToLong(l -> 8 * l.rows() + 256).sum();
    }

    @Override
    public List<ColumnNorms> empty(Desk d) {
        return layers.stream().map(l -> ColumnNorms.empty(d, l.rows())).toList();
    }

    @Override
    public List<ColumnNorms> see(List<ColumnNorms> squares, LayerInput input) {
        for (int i = 0; i < layers.size(); i++) {
            addSquares(layers.get(i), squares.get(i), input.x());
        }
        return squares;
    }

    @Override
    public List<ColumnNorms> merge(List<ColumnNorms> a, List<ColumnNorms> b) {
        for (int i = 0; i < a.size(); i++) {
            a.get(i).add(b.get(i));
        }
        return a;
    }

    private static void addSquares(KvHeads heads, ColumnNorms squares, Tensor x) {
        long all = heads.queries() + heads.rows();
        try (Desk d = squares.desk().fresh(8 * x.rows() * all + 4096)) {
            Tensor weight = heads.weight().rows(heads.queries(), all);
            Tensor y = d.f32(x.rows(), heads.rows());
            d.run(new ForwardOp.Matmul(y, x, new Weight.Dense(weight)));
            if (heads.bias() != null) {
                Tensor column = heads.bias().reshape(all, 1).rows(heads.queries(), all);
                Tensor sum = d.f32(x.rows(), heads.rows());
                d.run(new ForwardOp.AddRow(sum, y, column.reshape(heads.rows())));
                y = sum;
            }
            squares.add(y, 2);
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
