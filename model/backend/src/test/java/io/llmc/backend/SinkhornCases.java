// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.ForwardOp.Balance;
import io.llmc.backend.OpCases.Case;
import java.util.List;

/// Matrices of several sizes, in double precision; gradients are differences of them.
final class SinkhornCases {
    private SinkhornCases() {}

    static void all(List<Case> cases) {
        for (Balance balance :
                List.of(
                        new Balance(1, 1, 0.25f),
                        new Balance(3, 4, 1e-6f),
                        new Balance(4, 20, 1e-6f),
                        new Balance(9, 2, 0.125f))) {
            long numbers = (long) balance.size() * balance.size();
            cases.add(
                    new Case(
                            ForwardOp.Sinkhorn.class,
                            "sinkhorn " + balance,
                            OpCases.ROUNDING,
                            a ->
                                    new ForwardOp.Sinkhorn(
                                            a.out(131, numbers), a.normal(131, numbers), balance)));
            cases.add(
                    new Case(
                            GradientOp.AccumulateSinkhornGrad.class,
                            "sinkhornGrad " + balance,
                            OpCases.SUMS,
                            a ->
                                    new GradientOp.AccumulateSinkhornGrad(
                                            OpCases.sum(a, 131, (int) numbers),
                                            a.normal(131, numbers),
                                            a.normal(131, numbers),
                                            balance)));
        }
    }

    static void run(ForwardOp.Sinkhorn op) {
        int numbers = (int) op.x().cols();
        for (int t = 0; t < op.x().rows(); t++) {
            double[] x = new double[numbers];
            for (int i = 0; i < numbers; i++) {
                x[i] = get(op.x(), t, i);
            }
            double[] y = balanced(x, op.balance());
            for (int i = 0; i < numbers; i++) {
                set(op.out(), t, i, y[i]);
            }
        }
    }

    static void run(GradientOp.AccumulateSinkhornGrad op) {
        int numbers = (int) op.x().cols();
        double h = 1e-5;
        for (int t = 0; t < op.x().rows(); t++) {
            double[] x = new double[numbers];
            for (int i = 0; i < numbers; i++) {
                x[i] = get(op.x(), t, i);
            }
            for (int i = 0; i < numbers; i++) {
                double own = x[i];
                x[i] = own + h;
                double[] more = balanced(x, op.balance());
                x[i] = own - h;
                double[] less = balanced(x, op.balance());
                x[i] = own;
                double slope = 0;
                for (int j = 0; j < numbers; j++) {
                    slope += get(op.dout(), t, j) * (more[j] - less[j]) / (2 * h);
                }
                set(op.dx(), t, i, get(op.dx(), t, i) + slope);
            }
        }
    }

    private static double[] balanced(double[] x, Balance b) {
        int n = b.size();
        double[] m = new double[n * n];
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int j = 0; j < n; j++) {
                sum += Math.exp(x[i * n + j]);
            }
            for (int j = 0; j < n; j++) {
                m[i * n + j] = Math.exp(x[i * n + j]) / sum + b.eps();
            }
        }
        for (int round = 0; round < b.rounds(); round++) {
            for (int i = 0; i < n && round > 0; i++) {
                divide(m, i * n, 1, n, b.eps());
            }
            for (int j = 0; j < n; j++) {
                divide(m, j, n, n, b.eps());
            }
        }
        return m;
    }

    private static void divide(double[] m, int from, int stride, int count, double eps) {
        double sum = eps;
        for (int k = 0; k < count; k++) {
            sum += m[from + k * stride];
        }
        for (int k = 0; k < count; k++) {
            m[from + k * stride] /= sum;
        }
    }
}
