// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceGradients.add;
import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.RecurrentOp.Heads;
import io.llmc.backend.RecurrentOp.Run;
import io.llmc.tensor.Tensor;

/// Convolutions and recurrences, row by row in double precision.
final class ReferenceRecurrences {
    private ReferenceRecurrences() {}

    static void run(RecurrentOp op) {
        switch (op) {
            case RecurrentOp.ResumeConvolve resumed ->
                    resumed.runs().forEach(run -> resume(resumed.op(), run));
            case RecurrentOp.DeltaRule rule -> rule.runs().forEach(run -> deltaRule(rule, run));
            case RecurrentOp.StateSpace space ->
                    space.runs().forEach(run -> stateSpace(space, run));
            case RecurrentOp.SelectiveScan scan ->
                    scan.runs().forEach(run -> selectiveScan(scan, run));
        }
    }

    static void convolve(ForwardOp.Convolve op) {
        for (int row = 0; row < op.x().rows(); row += op.length()) {
            resume(op, new Run(row, op.length(), null, null));
        }
    }

    private static void resume(ForwardOp.Convolve op, Run run) {
        int taps = op.taps();
        long cols = op.x().cols();
        // The rows before, then the run's.
        double[][] rows = new double[taps - 1 + run.length()][(int) cols];
        for (int r = 0; r < rows.length; r++) {
            int t = r - taps + 1;
            for (int c = 0; c < cols; c++) {
                Tensor begin = run.begin();
                rows[r][c] =
                        t >= 0
                                ? get(op.x(), run.row() + t, c)
                                : begin == null ? 0 : get(begin, r, c);
            }
        }
        for (int t = 0; t < run.length(); t++) {
            for (int c = 0; c < cols; c++) {
                double sum = op.bias() == null ? 0 : get(op.bias(), c);
                for (int j = 0; j < taps; j++) {
                    sum += get(op.weight(), c, j) * rows[t + j][c];
                }
                set(op.out(), run.row() + t, c, sum);
            }
        }
        for (int r = 0; r < taps - 1 && run.end() != null; r++) {
            for (int c = 0; c < cols; c++) {
                set(run.end(), r, c, rows[run.length() + r][c]);
            }
        }
    }

    static void gradient(GradientOp.AccumulateConvolveGrad op) {
        int taps = (int) op.weight().cols();
        for (int row = 0; row < op.x().rows(); row++) {
            for (int j = 0; j < taps; j++) {
                int back = taps - 1 - j;
                if (row % op.length() < back) {
                    continue;
                }
                for (int c = 0; c < op.x().cols(); c++) {
                    double dout = get(op.dout(), row, c);
                    if (op.dx() != null) {
                        add(op.dx(), row - back, c, dout * get(op.weight(), c, j));
                    }
                    if (op.dweight() != null) {
                        add(op.dweight(), c, j, dout * get(op.x(), row - back, c));
                    }
                }
            }
        }
    }

    private static double[][] state(Run run, Heads heads, int head) {
        double[][] s = new double[heads.keyDim()][heads.valueDim()];
        for (int i = 0; i < s.length && run.begin() != null; i++) {
            for (int j = 0; j < s[i].length; j++) {
                s[i][j] = get(run.begin(), (long) head * s.length + i, j);
            }
        }
        return s;
    }

    private static void keep(Run run, double[][] s, int head) {
        for (int i = 0; i < s.length && run.end() != null; i++) {
            for (int j = 0; j < s[i].length; j++) {
                set(run.end(), (long) head * s.length + i, j, s[i][j]);
            }
        }
    }

    private static double[] head(Tensor x, long row, int head, int dim) {
        double[] out = new double[dim];
        for (int i = 0; i < dim; i++) {
            out[i] = get(x, row, (long) head * dim + i);
        }
        return out;
    }

    private static double softplus(double x) {
        return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
    }

    private static double sigmoid(double x) {
        return 1 / (1 + Math.exp(-x));
    }

    private static double[] normalised(double[] x, double scale) {
        double squares = 1e-6;
        for (double v : x) {
            squares += v * v;
        }
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = x[i] / Math.sqrt(squares) * scale;
        }
        return out;
    }

    private static double kept(RecurrentOp.Decay d, long row, Heads heads, int head, int channel) {
        int column = d.byChannel(heads) ? head * heads.keyDim() + channel : head;
        double g = get(d.x(), row, column) + get(d.bias(), column);
        double rate = Math.exp(get(d.rate(), head));
        return d.bound() == 0
                ? Math.exp(-rate * softplus(g))
                : Math.exp(d.bound() * sigmoid(rate * g));
    }

    private static void deltaRule(RecurrentOp.DeltaRule op, Run run) {
        Heads heads = op.heads();
        for (int h = 0; h < heads.values(); h++) {
            double[][] s = state(run, heads, h);
            int key = h / (heads.values() / heads.keys());
            for (long row = run.row(); row < run.row() + run.length(); row++) {
                double[] q =
                        normalised(
                                head(op.q(), row, key, heads.keyDim()),
                                1 / Math.sqrt(heads.keyDim()));
                double[] k = normalised(head(op.k(), row, key, heads.keyDim()), 1);
                double[] v = head(op.v(), row, h, heads.valueDim());
                double beta = sigmoid(get(op.beta(), row, h));
                for (int j = 0; j < v.length; j++) {
                    double recalled = 0;
                    for (int i = 0; i < k.length; i++) {
                        s[i][j] *= kept(op.decay(), row, heads, h, i);
                        recalled += s[i][j] * k[i];
                    }
                    double out = 0;
                    for (int i = 0; i < k.length; i++) {
                        s[i][j] += k[i] * beta * (v[j] - recalled);
                        out += s[i][j] * q[i];
                    }
                    set(op.out(), row, (long) h * v.length + j, out);
                }
            }
            keep(run, s, h);
        }
    }

    private static void selectiveScan(RecurrentOp.SelectiveScan op, Run run) {
        int states = (int) op.b().cols();
        int channels = (int) op.out().cols();
        double[][] s = new double[states][channels];
        for (int n = 0; n < states && run.begin() != null; n++) {
            for (int i = 0; i < channels; i++) {
                s[n][i] = get(run.begin(), n, i);
            }
        }
        for (long row = run.row(); row < run.row() + run.length(); row++) {
            for (int i = 0; i < channels; i++) {
                double x = get(op.x(), row, i);
                double dt = softplus(get(op.step(), row, i));
                double out = get(op.skip(), i) * x;
                for (int n = 0; n < states; n++) {
                    double kept = Math.exp(-Math.exp(get(op.rate(), i, n)) * dt);
                    s[n][i] = kept * s[n][i] + dt * x * get(op.b(), row, n);
                    out += s[n][i] * get(op.c(), row, n);
                }
                set(op.out(), row, i, out);
            }
        }
        for (int n = 0; n < states && run.end() != null; n++) {
            for (int i = 0; i < channels; i++) {
                set(run.end(), n, i, s[n][i]);
            }
        }
    }

    private static void stateSpace(RecurrentOp.StateSpace op, Run run) {
        Heads heads = op.heads();
        RecurrentOp.Steps steps = op.steps();
        for (int h = 0; h < heads.values(); h++) {
            double[][] s = state(run, heads, h);
            int key = h / (heads.values() / heads.keys());
            for (long row = run.row(); row < run.row() + run.length(); row++) {
                double[] q = head(op.q(), row, key, heads.keyDim());
                double[] k = head(op.k(), row, key, heads.keyDim());
                double[] v = head(op.v(), row, h, heads.valueDim());
                double dt = softplus(get(steps.x(), row, h) + get(steps.bias(), h));
                dt = Math.clamp(dt, steps.least(), steps.most());
                double kept = Math.exp(-Math.exp(get(steps.rate(), h)) * dt);
                for (int j = 0; j < v.length; j++) {
                    double out = get(op.skip(), h) * v[j];
                    for (int i = 0; i < k.length; i++) {
                        s[i][j] = kept * s[i][j] + k[i] * dt * v[j];
                        out += s[i][j] * q[i];
                    }
                    set(op.out(), row, (long) h * v.length + j, out);
                }
            }
            keep(run, s, h);
        }
    }
}
