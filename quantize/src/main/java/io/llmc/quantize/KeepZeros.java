// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Arrays;

/// Whether zeros stay zero.
enum KeepZeros {
    /// Where at least a third of a layer's weights are zero: that is no chance.
    AUTO,
    ALWAYS,
    NEVER;

    /// Whether those of this weight do.
    boolean of(Desk d, Weight w) {
        return switch (this) {
            case ALWAYS -> true;
            case NEVER -> false;
            case AUTO -> zeros(d, w) > 1.0 / 3;
        };
    }

    /// The share of a dense weight that is exactly zero.
    private static double zeros(Desk desk, Weight weight) {
        if (!(weight instanceof Weight.Dense(var w))) {
            return 0;
        }
        float[] ones = new float[(int) w.cols()];
        Arrays.fill(ones, 1);
        try (Desk d = desk.fresh(8 * w.rows() + 4 * w.cols() + 4096)) {
            Tensor counts = d.allocate(DType.F64, w.rows());
            Tensor importance = d.floats(ones);
            d.run(new StatisticOp.CountAbove(counts, w, importance, 0));
            double others = d.backend().sum(counts);
            return 1 - others / w.shape().size();
        }
    }
}
