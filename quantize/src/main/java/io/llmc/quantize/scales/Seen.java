// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;

/// What a sample shows of the inputs that a group of layers reads, column by column.
final class Seen {
    private final double[] sums;
    private final float[] maxima;
    private long tokens;

    Seen(int columns) {
        sums = new double[columns];
        maxima = new float[columns];
    }

    /// @param x F32 `[tokens, columns]`
    void see(Desk d, Tensor x) {
        try (Desk own = d.fresh(12 * x.cols() + 1024)) {
            Tensor norms = own.allocate(DType.F64, x.cols());
            Tensor most = own.allocate(DType.F32, x.cols());
            own.run(new ForwardOp.Zero(norms));
            own.run(new ForwardOp.Zero(most));
            own.run(new StatisticOp.AccumulateColumnNorms(norms, x, 1));
            own.run(new StatisticOp.AccumulateColumnMaxima(most, x));
            double[] norm = own.backend().doubles(norms);
            float[] largest = own.backend().floats(most);
            for (int c = 0; c < sums.length; c++) {
                sums[c] += norm[c];
                maxima[c] = Math.max(maxima[c], largest[c]);
            }
        }
        tokens += x.rows();
    }

    /// The mean magnitude of each column; 0 where nothing was seen.
    double[] means() {
        double[] means = sums.clone();
        for (int c = 0; c < means.length; c++) {
            means[c] /= Math.max(1, tokens);
        }
        return means;
    }

    /// The largest magnitude of each column.
    float[] maxima() {
        return maxima.clone();
    }
}
