// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F64;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.LossOp;
import io.llmc.backend.LossOp.LossWeights;
import io.llmc.tensor.DType;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/// Losses between two rows of logits, and what they ask of the student's.
///
/// Logarithms of probabilities are differences of logits and one logarithm of a sum, in F64; the
/// gradient of `sum f(q)` is `q_i (f'_i - sum q f')`.
final class DistillLossKernel {
    private final Workers workers;

    DistillLossKernel(Workers workers) {
        this.workers = workers;
    }

    void run(LossOp.DistillLoss op) {
        workers.forEach(
                Math.toIntExact(op.student().rows()), (row, scratch) -> row(op, row, scratch));
    }

    private static void row(LossOp.DistillLoss op, int row, Scratch scratch) {
        int n = Math.toIntExact(op.student().cols());
        int padded = Lanes.padded(n);
        LossWeights weights = op.weights();
        float[] s = scratch.floats(0, padded);
        float[] d = scratch.floats(1, padded);
        long at = (long) row * n;
        Lanes.read(s, 0, op.student().bytes(), DType.F32, at, n);
        Arrays.fill(d, 0, padded, 0);
        double[] losses = new double[4];
        int target = op.targets().bytes().get(I32, 4L * row);
        if (weights.ce() != 0 && target >= 0) {
            losses[3] = crossEntropy(s, d, n, target, weights.ce() * op.scale(), scratch);
        }
        if (weights.asksTeacher()) {
            float[] t = scratch.floats(2, padded);
            Lanes.read(t, 0, op.teacher().bytes(), DType.F32, at, n);
            divide(s, n, weights.temperature());
            divide(t, n, weights.temperature());
            against(s, t, d, n, weights, op.scale(), losses, scratch);
        }
        Lanes.write(op.dlogits().bytes(), DType.F32, at, d, 0, n);
        for (int i = 0; i < 4; i++) {
            op.losses().bytes().set(F64, 8L * (4L * row + i), losses[i]);
        }
    }

    /// Adds its gradient; the array is as long as whole vectors.
    static double crossEntropy(
            float[] s, float[] d, int n, int target, float scale, Scratch scratch) {
        double sum = LossKernels.logSum(s, n, scratch);
        FloatVector log = FloatVector.broadcast(F, (float) sum);
        for (int i = 0; i < n; i += N) {
            FloatVector q = Exp.exp(FloatVector.fromArray(F, s, i).sub(log));
            q.mul(scale).intoArray(d, i);
        }
        d[target] -= scale;
        return sum - s[target];
    }

    static void divide(float[] x, int n, float temperature) {
        if (temperature != 1) {
            for (int i = 0; i < n; i++) {
                x[i] /= temperature;
            }
        }
    }

    /// Adds the gradient of the losses that ask the teacher. Changes t.
    ///
    /// @param s logits over the temperature; arrays are as long as whole vectors
    /// @param losses the first three are written
    static void against(
            float[] s,
            float[] t,
            float[] d,
            int n,
            LossWeights w,
            float scale,
            double[] losses,
            Scratch scratch) {
        double logS = LossKernels.logSum(s, n, scratch);
        double logT = LossKernels.logSum(t, n, scratch);
        float[] q = scratch.floats(3, s.length);
        float[] p = scratch.floats(4, s.length);
        for (int i = 0; i < n; i += N) {
            Exp.exp(FloatVector.fromArray(F, s, i).sub((float) logS)).intoArray(q, i);
            Exp.exp(FloatVector.fromArray(F, t, i).sub((float) logT)).intoArray(p, i);
        }
        // The gradient with respect to the student's logits over T, times T^2.
        float factor = w.temperature() * scale;
        if (w.kl() != 0) {
            double kl = 0;
            for (int i = 0; i < n; i++) {
                if (p[i] > 0) {
                    kl += p[i] * ((t[i] - logT) - (s[i] - logS));
                }
                d[i] += factor * w.kl() * (q[i] - p[i]);
            }
            losses[0] = kl;
        }
        if (w.reverse() != 0) {
            double mean = 0;
            for (int i = 0; i < n; i++) {
                mean += q[i] * ((s[i] - logS) - (t[i] - logT));
            }
            for (int i = 0; i < n; i++) {
                double f = (s[i] - logS) - (t[i] - logT);
                d[i] += (float) (factor * w.reverse() * q[i] * (f - mean));
            }
            losses[1] = mean;
        }
        if (w.jsd() != 0) {
            losses[2] = mixture(s, t, q, p, d, n, logS, logT, w, factor);
        }
    }

    /// `d jsd / d q_i = (1 - beta) log(q_i / m_i)`: the other terms cancel.
    private static double mixture(
            float[] s,
            float[] t,
            float[] q,
            float[] p,
            float[] d,
            int n,
            double logS,
            double logT,
            LossWeights w,
            float factor) {
        double beta = w.beta();
        double loss = 0;
        double mean = 0;
        for (int i = 0; i < n; i++) {
            double m = StrictMath.log(beta * p[i] + (1 - beta) * q[i] + Float.MIN_NORMAL);
            loss += beta * p[i] * (t[i] - logT - m) + (1 - beta) * q[i] * (s[i] - logS - m);
            mean += q[i] * (1 - beta) * (s[i] - logS - m);
            t[i] = (float) ((1 - beta) * (s[i] - logS - m));
        }
        for (int i = 0; i < n; i++) {
            d[i] += (float) (factor * w.jsd() * q[i] * (t[i] - mean));
        }
        return loss;
    }
}
