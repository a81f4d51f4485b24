// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;
import static io.llmc.backend.ReferenceOps.size;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.tensor.Tensor;

/// Gradients as formulas, in double precision, one loop after the other.
final class ReferenceGradients {
    private ReferenceGradients() {}

    static void add(Tensor t, long row, long column, double v) {
        set(t, row, column, get(t, row, column) + v);
    }

    static void add(Tensor t, long i, double v) {
        set(t, i, get(t, i) + v);
    }

    static void scaled(Tensor sum, Tensor x, double factor) {
        for (long i = 0; i < size(x); i++) {
            add(sum, i, factor * get(x, i));
        }
    }

    static void matmulInput(Tensor dx, Tensor dout, double[] w) {
        for (long t = 0; t < dx.rows(); t++) {
            for (long i = 0; i < dx.cols(); i++) {
                double sum = 0;
                for (long o = 0; o < dout.cols(); o++) {
                    sum += get(dout, t, o) * w[(int) (o * dx.cols() + i)];
                }
                add(dx, t, i, sum);
            }
        }
    }

    static void outer(Tensor dw, Tensor dout, Tensor x) {
        for (long o = 0; o < dw.rows(); o++) {
            for (long i = 0; i < dw.cols(); i++) {
                double sum = 0;
                for (long t = 0; t < x.rows(); t++) {
                    sum += get(dout, t, o) * get(x, t, i);
                }
                add(dw, o, i, sum);
            }
        }
    }

    static void columnSums(Tensor sum, Tensor x) {
        for (long c = 0; c < x.cols(); c++) {
            double total = 0;
            for (long t = 0; t < x.rows(); t++) {
                total += get(x, t, c);
            }
            add(sum, c, total);
        }
    }

    static void columns(Tensor dx, Tensor dout, long from) {
        for (long t = 0; t < dout.rows(); t++) {
            for (long c = 0; c < dout.cols(); c++) {
                add(dx, t, from + c, get(dout, t, c));
            }
        }
    }

    static void softcap(Tensor dx, Tensor dout, Tensor out, double cap) {
        for (long i = 0; i < size(dx); i++) {
            double tanh = get(out, i) / cap;
            add(dx, i, get(dout, i) * (1 - tanh * tanh));
        }
    }

    static void rmsNorm(GradientOp.AccumulateRmsNormGrad op) {
        int n = (int) op.x().cols();
        double[] dw = new double[n];
        for (long t = 0; t < op.x().rows(); t++) {
            double squares = 0;
            double cross = 0;
            for (int i = 0; i < n; i++) {
                squares += get(op.x(), t, i) * get(op.x(), t, i);
                cross += get(op.x(), t, i) * get(op.dout(), t, i) * weight(op, i);
            }
            double r = Math.sqrt(squares / n + op.eps());
            for (int i = 0; i < n; i++) {
                double g = get(op.dout(), t, i) * weight(op, i);
                add(op.dx(), t, i, g / r - get(op.x(), t, i) * cross / (n * r * r * r));
                dw[i] += get(op.dout(), t, i) * get(op.x(), t, i) / r;
            }
        }
        for (int i = 0; op.dweight() != null && i < n; i++) {
            add(op.dweight(), i, dw[i]);
        }
    }

    private static double weight(GradientOp.AccumulateRmsNormGrad op, int i) {
        return op.weight() == null ? 1 : get(op.weight(), i) + op.offset();
    }

    static void layerNorm(GradientOp.AccumulateLayerNormGrad op) {
        int n = (int) op.x().cols();
        for (long t = 0; t < op.x().rows(); t++) {
            double mean = 0;
            for (int i = 0; i < n; i++) {
                mean += get(op.x(), t, i) / n;
            }
            double variance = 0;
            for (int i = 0; i < n; i++) {
                variance += Math.pow(get(op.x(), t, i) - mean, 2) / n;
            }
            double r = Math.sqrt(variance + op.eps());
            double sum = 0;
            double cross = 0;
            for (int i = 0; i < n; i++) {
                double g = get(op.dout(), t, i) * (op.weight() == null ? 1 : get(op.weight(), i));
                sum += g / n;
                cross += g * (get(op.x(), t, i) - mean) / r / n;
            }
            for (int i = 0; i < n; i++) {
                double g = get(op.dout(), t, i) * (op.weight() == null ? 1 : get(op.weight(), i));
                double y = (get(op.x(), t, i) - mean) / r;
                add(op.dx(), t, i, (g - sum - y * cross) / r);
            }
        }
        if (op.dweight() != null) {
            for (int i = 0; i < n; i++) {
                double total = 0;
                for (long t = 0; t < op.x().rows(); t++) {
                    total += get(op.dout(), t, i) * normalised(op, t, i);
                }
                add(op.dweight(), i, total);
            }
        }
        if (op.dbias() != null) {
            columnSums(op.dbias(), op.dout());
        }
    }

    private static double normalised(GradientOp.AccumulateLayerNormGrad op, long t, int i) {
        int n = (int) op.x().cols();
        double mean = 0;
        for (int k = 0; k < n; k++) {
            mean += get(op.x(), t, k) / n;
        }
        double variance = 0;
        for (int k = 0; k < n; k++) {
            variance += Math.pow(get(op.x(), t, k) - mean, 2) / n;
        }
        return (get(op.x(), t, i) - mean) / Math.sqrt(variance + op.eps());
    }

    static void rope(
            Tensor dx, Tensor dout, Tensor cosSin, int headDim, int length, boolean interleaved) {
        int pairs = (int) cosSin.cols() / 2;
        for (long t = 0; t < dx.rows(); t++) {
            for (long head = 0; head < dx.cols(); head += headDim) {
                for (int k = 0; k < pairs; k++) {
                    long i = head + (interleaved ? 2L * k : k);
                    long j = head + (interleaved ? 2L * k + 1 : (long) pairs + k);
                    double cos = get(cosSin, t % length, k);
                    double sin = get(cosSin, t % length, pairs + k);
                    add(dx, t, i, get(dout, t, i) * cos + get(dout, t, j) * sin);
                    add(dx, t, j, get(dout, t, j) * cos - get(dout, t, i) * sin);
                }
                for (long i = head + 2L * pairs; i < head + headDim; i++) {
                    add(dx, t, i, get(dout, t, i));
                }
            }
        }
    }

    static void activate(Tensor dx, Tensor dout, Tensor x, Activation activation) {
        for (long i = 0; i < size(dx); i++) {
            add(dx, i, get(dout, i) * slope(get(x, i), activation));
        }
    }

    static void gated(GradientOp.AccumulateGatedGrad op) {
        for (long i = 0; i < size(op.gate()); i++) {
            double g = get(op.gate(), i);
            double d = get(op.dout(), i);
            add(op.dgate(), i, d * get(op.up(), i) * slope(g, op.activation()));
            add(op.dup(), i, d * ReferenceOps.activate(g, op.activation()));
        }
    }

    /// By a central difference of the activation itself.
    private static double slope(double x, Activation activation) {
        double h = 1e-5;
        if (activation == Activation.RELU) {
            return x > 0 ? 1 : 0;
        }
        return (ReferenceOps.activate(x + h, activation) - ReferenceOps.activate(x - h, activation))
                / (2 * h);
    }

    static void clampedSwiGlu(GradientOp.AccumulateClampedSwiGluGrad op) {
        double h = 1e-5;
        for (long i = 0; i < size(op.gate()); i++) {
            double g = get(op.gate(), i);
            double u = get(op.up(), i);
            double d = get(op.dout(), i) / (2 * h);
            var clamp = op.clamp();
            double byGate =
                    ReferenceOps.clampedSwiGlu(g + h, u, clamp)
                            - ReferenceOps.clampedSwiGlu(g - h, u, clamp);
            double byUp =
                    ReferenceOps.clampedSwiGlu(g, u + h, clamp)
                            - ReferenceOps.clampedSwiGlu(g, u - h, clamp);
            add(op.dgate(), i, d * byGate);
            add(op.dup(), i, d * byUp);
        }
    }

    static void xielu(GradientOp.AccumulateXieluGrad op) {
        double h = 1e-7;
        for (long i = 0; i < size(op.x()); i++) {
            double x = get(op.x(), i);
            double more = ReferenceOps.xielu(x + h, op.curve());
            double less = ReferenceOps.xielu(x - h, op.curve());
            add(op.dx(), i, get(op.dout(), i) * (more - less) / (2 * h));
        }
    }

    static void rows(GradientOp.AccumulateRowsGrad op) {
        for (long r = 0; r < op.x().rows(); r++) {
            long from = (long) get(op.rows(), r);
            double w = op.weights() == null ? 1 : get(op.weights(), r);
            double dot = 0;
            for (long c = 0; c < op.x().cols(); c++) {
                add(op.dx(), r, c, op.factor() * w * get(op.dsum(), from, c));
                dot += op.factor() * get(op.dsum(), from, c) * get(op.x(), r, c);
            }
            if (op.dweights() != null) {
                add(op.dweights(), r, dot);
            }
        }
    }

    /// The gradient by central differences of the loss itself, in double precision.
    static void distillLoss(LossOp.DistillLoss op) {
        int n = (int) op.student().cols();
        for (long r = 0; r < op.student().rows(); r++) {
            double[] s = new double[n];
            double[] t = new double[n];
            for (int i = 0; i < n; i++) {
                s[i] = get(op.student(), r, i);
                t[i] = op.teacher() == null ? 0 : get(op.teacher(), r, i);
            }
            int target = (int) get(op.targets(), r);
            double[] losses = losses(s, t, target, op.weights());
            for (int i = 0; i < 4; i++) {
                set(op.losses(), r, i, losses[i]);
            }
            for (int i = 0; i < n; i++) {
                double h = 1e-5;
                double before = s[i];
                s[i] = before + h;
                double up = total(losses(s, t, target, op.weights()), op.weights());
                s[i] = before - h;
                double down = total(losses(s, t, target, op.weights()), op.weights());
                s[i] = before;
                set(op.dlogits(), r, i, op.scale() * (up - down) / (2 * h));
            }
        }
    }

    static double total(double[] losses, LossOp.LossWeights w) {
        double square = w.temperature() * w.temperature();
        return square * (w.kl() * losses[0] + w.reverse() * losses[1] + w.jsd() * losses[2])
                + w.ce() * losses[3];
    }

    private static double[] losses(double[] s, double[] t, int target, LossOp.LossWeights w) {
        double[] losses = between(softmax(t, w.temperature()), softmax(s, w.temperature()), w);
        losses[3] = w.ce() == 0 || target < 0 ? 0 : -Math.log(softmax(s, 1)[target]);
        return losses;
    }

    /// kl, reverse, jsd, 0 between two distributions over the same outcomes.
    static double[] between(double[] p, double[] q, LossOp.LossWeights w) {
        double[] losses = new double[4];
        for (int i = 0; i < p.length; i++) {
            double m = w.beta() * p[i] + (1 - w.beta()) * q[i];
            losses[0] += w.kl() == 0 ? 0 : term(p[i], q[i]);
            losses[1] += w.reverse() == 0 ? 0 : term(q[i], p[i]);
            losses[2] +=
                    w.jsd() == 0 ? 0 : w.beta() * term(p[i], m) + (1 - w.beta()) * term(q[i], m);
        }
        return losses;
    }

    private static double term(double a, double b) {
        return a == 0 ? 0 : a * Math.log(a / b);
    }

    static double[] softmax(double[] x, double temperature) {
        double[] p = new double[x.length];
        double sum = 0;
        for (int i = 0; i < x.length; i++) {
            p[i] = Math.exp(x[i] / temperature);
            sum += p[i];
        }
        for (int i = 0; i < x.length; i++) {
            p[i] /= sum;
        }
        return p;
    }

    /// The gradient by central differences, as in [#distillLoss].
    static void hiddenLoss(LossOp.AccumulateHiddenLoss op) {
        int n = (int) op.x().cols();
        for (long r = 0; r < op.x().rows(); r++) {
            double[] x = row(op.x(), r);
            double[] t = row(op.target(), r);
            set(op.losses(), r, distance(x, t, op.distance()));
            for (int i = 0; op.dx() != null && i < n; i++) {
                double h = 1e-5;
                double before = x[i];
                x[i] = before + h;
                double up = distance(x, t, op.distance());
                x[i] = before - h;
                double down = distance(x, t, op.distance());
                x[i] = before;
                add(op.dx(), r, i, op.scale() * (up - down) / (2 * h));
            }
        }
    }

    private static double[] row(Tensor t, long r) {
        double[] values = new double[(int) t.cols()];
        for (int i = 0; i < values.length; i++) {
            values[i] = get(t, r, i);
        }
        return values;
    }

    private static double distance(double[] x, double[] t, LossOp.Distance distance) {
        double squares = 0;
        double xt = 0;
        double xx = 0;
        double tt = 0;
        for (int i = 0; i < x.length; i++) {
            squares += (x[i] - t[i]) * (x[i] - t[i]);
            xt += x[i] * t[i];
            xx += x[i] * x[i];
            tt += t[i] * t[i];
        }
        return switch (distance) {
            case MSE -> squares / x.length;
            case COSINE -> 1 - xt / Math.sqrt(xx * tt);
        };
    }

    static void adamW(Tensor w, Tensor m, Tensor v, Tensor g, OptimizerOp.AdamSpec spec) {
        for (long i = 0; i < size(w); i++) {
            double grad = get(g, i) * spec.gradientScale();
            double mean = spec.beta1() * get(m, i) + (1 - spec.beta1()) * grad;
            double square = spec.beta2() * get(v, i) + (1 - spec.beta2()) * grad * grad;
            double a = mean / (1 - Math.pow(spec.beta1(), spec.step()));
            double b = square / (1 - Math.pow(spec.beta2(), spec.step()));
            double step = a / (Math.sqrt(b) + spec.eps()) + spec.decay() * get(w, i);
            set(m, i, mean);
            set(v, i, square);
            set(w, i, get(w, i) - spec.rate() * step);
        }
    }
}
