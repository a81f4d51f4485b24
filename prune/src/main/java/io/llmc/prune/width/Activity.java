// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Desk;
import io.llmc.model.Stage;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.Observer;
import io.llmc.pipeline.pass.StageInputs;
import io.llmc.prune.shared.ColumnNorms;
import io.llmc.tensor.Tensor;

/// How active the inputs of a layer are, as Minitron counts it: the mean of their sizes over each
/// sequence, squared and summed over sequences.
///
/// @param length tokens of a sequence; 0 where all that are shown together count as one
record Activity(long in, int length, Desk desk) implements Observer<Tensor, double[]> {
    /// Tokens of an expert count as one sequence a chunk.
    @MustBeClosed
    static StageInputs<double[]> observe(BlockScope scope, Stage stage) {
        int length = stage.routed() ? 0 : scope.sequenceLength();
        return StageInputs.observe(scope, stage, in -> new Activity(in, length, scope.desk()));
    }

    @Override
    public double[] empty(Desk d) {
        return new double[(int) in];
    }

    @Override
    public double[] see(double[] sum, Tensor x) {
        long step = length == 0 ? x.rows() : length;
        for (long row = 0; row < x.rows(); row += step) {
            add(sum, x.rows(row, row + step));
        }
        return sum;
    }

    private void add(double[] sum, Tensor sequence) {
        try (Desk d = desk.fresh(8 * in + 512)) {
            ColumnNorms sizes = ColumnNorms.empty(d, in);
            sizes.add(sequence, 1);
            double[] totals = sizes.values();
            for (int i = 0; i < totals.length; i++) {
                double mean = totals[i] / sequence.rows();
                sum[i] += mean * mean;
            }
        }
    }

    @Override
    public double[] merge(double[] a, double[] b) {
        for (int i = 0; i < a.length; i++) {
            a[i] += b[i];
        }
        return a;
    }
}
