// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F32;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Balance;
import io.llmc.backend.GradientOp;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Matrices whose rows and columns sum to about 1, one a row of a tensor.
final class SinkhornKernels {
    private final Workers workers;

    SinkhornKernels(Workers workers) {
        this.workers = workers;
    }

    void forward(ForwardOp.Sinkhorn op) {
        int numbers = Math.toIntExact(op.x().cols());
        workers.forEachRow(
                op.x().rows(),
                numbers,
                (t, scratch) -> {
                    Matrices m = Matrices.of(op.balance(), op.x(), t, scratch);
                    int last = m.at(op.balance().steps());
                    for (int i = 0; i < numbers; i++) {
                        long to = 4 * (t * numbers + i);
                        op.out().bytes().set(F32, to, (float) m.values()[last + i]);
                    }
                });
    }

    void gradient(GradientOp.AccumulateSinkhornGrad op) {
        int numbers = Math.toIntExact(op.x().cols());
        workers.forEachRow(
                op.x().rows(),
                numbers,
                (t, scratch) -> {
                    Matrices m = Matrices.of(op.balance(), op.x(), t, scratch);
                    double[] d = scratch.doubles(1, numbers);
                    for (int i = 0; i < numbers; i++) {
                        d[i] = op.dout().bytes().get(F32, 4 * (t * numbers + i));
                    }
                    for (int step = op.balance().steps(); step > 0; step--) {
                        m.back(d, step);
                    }
                    m.backThroughSoftmax(d);
                    MemorySegment sums = op.dx().bytes();
                    for (int i = 0; i < numbers; i++) {
                        long at = 4 * (t * numbers + i);
                        sums.set(F32, at, (float) (sums.get(F32, at) + d[i]));
                    }
                });
    }

    /// What a matrix is after every step.
    ///
    /// @param values the softmax plus eps, then what each division makes of the one before
    private record Matrices(Balance balance, double[] values) {
        static Matrices of(Balance balance, Tensor x, long row, Scratch scratch) {
            int n = balance.size();
            Matrices m = new Matrices(balance, scratch.doubles(0, (balance.steps() + 1) * n * n));
            for (int i = 0; i < n * n; i++) {
                m.values[i] = x.bytes().get(F32, 4 * (row * n * n + i));
            }
            for (int i = 0; i < n; i++) {
                m.soften(i * n);
            }
            for (int step = 1; step <= balance.steps(); step++) {
                m.divide(step);
            }
            return m;
        }

        /// Where a step's matrix begins.
        int at(int step) {
            return step * balance.size() * balance.size();
        }

        private void soften(int from) {
            int n = balance.size();
            double most = Double.NEGATIVE_INFINITY;
            for (int j = from; j < from + n; j++) {
                most = Math.max(most, values[j]);
            }
            double sum = 0;
            for (int j = from; j < from + n; j++) {
                values[j] = StrictMath.exp(values[j] - most);
                sum += values[j];
            }
            for (int j = from; j < from + n; j++) {
                values[j] = values[j] / sum + balance.eps();
            }
        }

        /// Odd steps are those of columns.
        private int line(int step, int line) {
            return step % 2 == 1 ? line : line * balance.size();
        }

        private int stride(int step) {
            return step % 2 == 1 ? balance.size() : 1;
        }

        /// What a step divides a row or column by.
        private double divisor(int step, int line) {
            double sum = balance.eps();
            int before = at(step - 1) + line(step, line);
            for (int k = 0; k < balance.size(); k++) {
                sum += values[before + k * stride(step)];
            }
            return sum;
        }

        private void divide(int step) {
            for (int line = 0; line < balance.size(); line++) {
                double divisor = divisor(step, line);
                for (int k = 0; k < balance.size(); k++) {
                    int i = line(step, line) + k * stride(step);
                    values[at(step) + i] = values[at(step - 1) + i] / divisor;
                }
            }
        }

        /// With b = a / s, s being the sum of a and eps: `da = (db - sum(db b)) / s`.
        void back(double[] d, int step) {
            for (int line = 0; line < balance.size(); line++) {
                double cross = 0;
                for (int k = 0; k < balance.size(); k++) {
                    int i = line(step, line) + k * stride(step);
                    cross += d[i] * values[at(step) + i];
                }
                double divisor = divisor(step, line);
                for (int k = 0; k < balance.size(); k++) {
                    int i = line(step, line) + k * stride(step);
                    d[i] = (d[i] - cross) / divisor;
                }
            }
        }

        void backThroughSoftmax(double[] d) {
            int n = balance.size();
            for (int from = 0; from < n * n; from += n) {
                double mean = 0;
                for (int j = from; j < from + n; j++) {
                    mean += d[j] * (values[j] - balance.eps());
                }
                for (int j = from; j < from + n; j++) {
                    d[j] = (values[j] - balance.eps()) * (d[j] - mean);
                }
            }
        }
    }
}
