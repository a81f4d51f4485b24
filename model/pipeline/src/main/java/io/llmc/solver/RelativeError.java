// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;

/// An error as a part of what it is an error of.
public final class RelativeError {
    private RelativeError() {}

    /// The squared output error `sum_o e[o,:] h e[o,:]^T` of a layer whose weights are off by e.
    ///
    /// @param e F32 `[out, in]`
    /// @param h F32 `[in, in]`, the Hessian of its inputs
    public static double squared(Desk d, Tensor e, Tensor h) {
        try (Desk scratch = d.scratch()) {
            Tensor rows = scratch.allocate(DType.F64, e.rows());
            d.run(new StatisticOp.QuadraticForm(rows, e, h));
            return d.backend().sum(rows);
        }
    }

    /// A layer that gives nothing loses nothing; where something came of nothing, all of it is
    /// error: 1.
    ///
    /// @param error sum of squared differences
    /// @param norm sum of squares of what should be there
    public static double of(double error, double norm) {
        if (norm > 0) {
            return error / norm;
        }
        return error > 0 ? 1 : 0;
    }
}
