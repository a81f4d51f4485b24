// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/// A damped Hessian's inverse as its Cholesky factor: what all layers with one input share.
///
/// @param diagonal of the Hessian, in the order of the inputs
/// @param order column `j` of the solver is input `order[j]`
/// @param u F32 `[in, in]`, upper: `u^T u` is the inverse of the permuted and damped Hessian
/// @param damping as used: larger than asked where the Cholesky factor did not exist
/// @param raises how often it was raised
public record Factor(float[] diagonal, int[] order, Tensor u, double damping, int raises) {
    /// Inputs that were never active.
    public long deadInputs() {
        return IntStream.range(0, diagonal.length).filter(i -> diagonal[i] == 0).count();
    }

    /// What an error costs under the Hessian, of what it costs under the damped one: a quadratic
    /// form for nothing, where [ObsSolver#solve] gave the latter.
    ///
    /// @param squares sum of the squared differences
    public double undamped(double cost, double squares) {
        return Math.max(0, cost - damping * mean(diagonal) * squares);
    }

    private static double mean(float[] diagonal) {
        return IntStream.range(0, diagonal.length).mapToDouble(i -> diagonal[i]).sum()
                / diagonal.length;
    }

    /// `1 / u[j,j]`, F32 `[in]` in the order of the solver: the square of a weight times it is what
    /// the weight's removal costs.
    public Tensor costs(Desk d) {
        Tensor own = d.allocate(DType.F32, diagonal.length);
        d.run(new StatisticOp.Diagonal(own, u));
        float[] costs = d.backend().floats(own);
        for (int j = 0; j < costs.length; j++) {
            costs[j] = 1 / costs[j];
        }
        return d.floats(costs);
    }

    /// Bytes of scratch for [#of].
    public static long bytes(long in) {
        return 8 * in * in + 16 * in + (1 << 14);
    }

    /// @param d receives the factor; room for at least [#bytes]
    /// @param h F32 `[in, in]`
    /// @param damping added to the diagonal, as a part of its mean; raised by as much, at least
    ///   0.01, until the factor exists
    /// @param descending the solver takes inputs by falling diagonal, else in their order
    /// @return null where even the largest damping leaves no factor, as for a Hessian of zeros
    public static Factor of(Desk d, Tensor h, double damping, boolean descending) {
        int in = (int) h.rows();
        Tensor diagonalTensor = d.allocate(DType.F32, in);
        d.run(new StatisticOp.Diagonal(diagonalTensor, h));
        float[] diagonal = d.backend().floats(diagonalTensor);
        double mean = mean(diagonal);
        if (!(mean > 0) || Double.isInfinite(mean)) {
            return null;
        }
        int[] order = descending ? descending(diagonal) : IntStream.range(0, in).toArray();
        Tensor u = d.f32(in, in);
        Tensor status = d.allocate(DType.I32, 1);
        try (Desk scratch = d.scratch()) {
            Tensor permuted = h;
            if (descending) {
                permuted = scratch.f32(in, in);
                d.run(new StatisticOp.GatherSymmetric(permuted, h, scratch.ints(order)));
            }
            double used = damping;
            for (int raises = 0; used < 1; raises++, used += Math.max(damping, 0.01)) {
                d.run(new StatisticOp.CholeskyInverse(u, status, permuted, (float) (used * mean)));
                if (d.backend().integer(status) == 0) {
                    return new Factor(diagonal, order, u, used, raises);
                }
            }
            return null;
        }
    }

    /// Indices of the values, the largest first, equals in their order.
    private static int[] descending(float[] values) {
        Integer[] order = new Integer[values.length];
        Arrays.setAll(order, i -> i);
        Arrays.sort(order, Comparator.comparingDouble((Integer i) -> -(double) values[i]));
        return Arrays.stream(order).mapToInt(Integer::intValue).toArray();
    }
}
