// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.solver.Factor;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;

/// What each unit of a layer's inputs counts. Tensors in, figures out.
final class UnitScores {
    private UnitScores() {}

    /// Sum over outputs of the size of a weight times the norm of its input.
    ///
    /// @param w F32 `[out, in]`
    /// @param h F32 `[in, in]`
    static double[] wanda(Desk d, Tensor w, Tensor h, int width) {
        int in = (int) w.cols();
        try (Desk scratch = d.scratch()) {
            Tensor sizes = scratch.allocate(DType.F64, in);
            Tensor diagonal = scratch.allocate(DType.F32, in);
            d.run(new ForwardOp.Zero(sizes));
            d.run(new StatisticOp.AccumulateColumnNorms(sizes, w, 1));
            d.run(new StatisticOp.Diagonal(diagonal, h));
            double[] scores = d.backend().doubles(sizes);
            float[] squares = d.backend().floats(diagonal);
            for (int i = 0; i < in; i++) {
                scores[i] *= Math.sqrt(squares[i]);
            }
            return sums(scores, width);
        }
    }

    /// Output error that is left when one unit goes and the others make up for it: `tr(w_G
    /// ((h^-1)_GG)^-1 w_G^T)`.
    ///
    /// @param w F32 `[out, kept]`, as refitted so far
    /// @param factor of the Hessian between the kept inputs
    static double[] obs(Desk d, Tensor w, Factor factor, int width) {
        int in = (int) w.cols();
        if (width == 1) {
            double[] inverse = columnSquares(d, factor.u());
            double[] weights = columnSquares(d, w);
            for (int i = 0; i < in; i++) {
                weights[i] /= inverse[i];
            }
            return weights;
        }
        double[] scores = new double[in / width];
        for (int u = 0; u < scores.length; u++) {
            int[] mine = new int[width];
            for (int i = 0; i < width; i++) {
                mine[i] = u * width + i;
            }
            try (Desk scratch = d.scratch()) {
                double[] inverse = gram(scratch, factor.u(), mine);
                double[] weights = gram(scratch, w, mine);
                scores[u] = traceOfQuotient(inverse, weights, width);
            }
        }
        return scores;
    }

    private static double[] columnSquares(Desk d, Tensor x) {
        try (Desk scratch = d.scratch()) {
            Tensor sums = scratch.allocate(DType.F64, x.cols());
            d.run(new ForwardOp.Zero(sums));
            d.run(new StatisticOp.AccumulateColumnNorms(sums, x, 2));
            return d.backend().doubles(sums);
        }
    }

    /// `x_G^T x_G`
    private static double[] gram(Desk d, Tensor x, int[] columns) {
        Tensor part = d.f32(x.rows(), columns.length);
        Tensor gram = d.f32(columns.length, columns.length);
        d.run(new StatisticOp.GatherColumns(part, x, d.ints(columns)));
        d.run(new ForwardOp.Zero(gram));
        d.run(new StatisticOp.AccumulateGram(gram, part, 1));
        float[] values = d.backend().floats(gram);
        double[] wide = new double[values.length];
        for (int i = 0; i < wide.length; i++) {
            wide[i] = values[i];
        }
        return wide;
    }

    /// `tr(a^-1 b)` for symmetric `[n, n]`, a positive definite; b where a is not.
    static double traceOfQuotient(double[] a, double[] b, int n) {
        double[] l = new double[n * n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j <= i; j++) {
                double s = a[i * n + j];
                for (int k = 0; k < j; k++) {
                    s -= l[i * n + k] * l[j * n + k];
                }
                if (i == j && !(s > 0)) {
                    return Double.MAX_VALUE;
                }
                l[i * n + j] = i == j ? Math.sqrt(s) : s / l[j * n + j];
            }
        }
        // tr(L^-T L^-1 b): solve L y = b column by column, then L x = y^T's rows on the diagonal.
        double[] y = b.clone();
        solve(l, y, n);
        double[] turned = new double[n * n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                turned[j * n + i] = y[i * n + j];
            }
        }
        solve(l, turned, n);
        double trace = 0;
        for (int i = 0; i < n; i++) {
            trace += turned[i * n + i];
        }
        return trace;
    }

    /// `y = L^-1 y`
    private static void solve(double[] l, double[] y, int n) {
        for (int i = 0; i < n; i++) {
            for (int k = 0; k < i; k++) {
                double f = l[i * n + k];
                for (int c = 0; c < n; c++) {
                    y[i * n + c] -= f * y[k * n + c];
                }
            }
            for (int c = 0; c < n; c++) {
                y[i * n + c] /= l[i * n + i];
            }
        }
    }

    /// Sums over runs of `width`.
    static double[] sums(double[] values, int width) {
        double[] sums = new double[values.length / width];
        for (int i = 0; i < values.length; i++) {
            sums[i / width] += values[i];
        }
        return sums;
    }
}
