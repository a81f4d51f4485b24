// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.D;
import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// What evaluation reads from logits, one row a tile, in F64: a divergence is a small difference of
/// large sums.
final class LossKernels {
    /// Logits whose exponentials are summed at a time.
    private static final int CHUNK = 1024;

    private final Workers workers;

    LossKernels(Workers workers) {
        this.workers = workers;
    }

    void negativeLogLikelihood(Tensor out, Tensor logits, Tensor targets) {
        int n = Math.toIntExact(logits.cols());
        MemorySegment outs = out.bytes();
        MemorySegment rows = logits.bytes();
        MemorySegment ids = targets.bytes();
        workers.forEach(
                Math.toIntExact(logits.rows()),
                (t, scratch) -> {
                    float[] x = scratch.floats(0, n);
                    Lanes.read(x, 0, rows, DType.F32, (long) t * n, n);
                    double normalizer = logSum(x, n, scratch);
                    outs.set(F32, 4L * t, (float) (normalizer - x[ids.get(I32, 4L * t)]));
                });
    }

    void divergence(Tensor out, Tensor pLogits, Tensor qLogits) {
        int n = Math.toIntExact(pLogits.cols());
        MemorySegment outs = out.bytes();
        MemorySegment ps = pLogits.bytes();
        MemorySegment qs = qLogits.bytes();
        workers.forEach(
                Math.toIntExact(pLogits.rows()),
                (t, scratch) -> {
                    float[] p = scratch.floats(0, n);
                    float[] q = scratch.floats(1, n);
                    Lanes.read(p, 0, ps, DType.F32, (long) t * n, n);
                    Lanes.read(q, 0, qs, DType.F32, (long) t * n, n);
                    double logP = logSum(p, n, scratch);
                    double logQ = logSum(q, n, scratch);
                    double[] e = scratch.doubles(0, CHUNK);
                    double sum = 0;
                    for (int from = 0; from < n; from += CHUNK) {
                        int count = Math.min(CHUNK, n - from);
                        exps(e, p, from, count, logP);
                        for (int i = 0; i < count; i++) {
                            if (e[i] > 0) {
                                double a = p[from + i] - logP;
                                sum += e[i] * (a - (q[from + i] - logQ));
                            }
                        }
                    }
                    outs.set(F32, 4L * t, (float) sum);
                });
    }

    void argMax(Tensor out, Tensor x) {
        int n = Math.toIntExact(x.cols());
        MemorySegment outs = out.bytes();
        MemorySegment rows = x.bytes();
        workers.forEach(
                Math.toIntExact(x.rows()),
                (t, scratch) -> {
                    float[] row = scratch.floats(0, n);
                    Lanes.read(row, 0, rows, DType.F32, (long) t * n, n);
                    int best = 0;
                    for (int i = 1; i < n; i++) {
                        if (row[i] > row[best]) {
                            best = i;
                        }
                    }
                    outs.set(I32, 4L * t, best);
                });
    }

    /// `log sum_i exp(x[i])`
    static double logSum(float[] x, int n, Scratch scratch) {
        float max = max(x, n);
        double[] e = scratch.doubles(0, CHUNK);
        double s0 = 0;
        double s1 = 0;
        double s2 = 0;
        double s3 = 0;
        for (int from = 0; from < n; from += CHUNK) {
            int count = Math.min(CHUNK, n - from);
            exps(e, x, from, count, max);
            int i = 0;
            for (; i <= count - 4; i += 4) {
                s0 += e[i];
                s1 += e[i + 1];
                s2 += e[i + 2];
                s3 += e[i + 3];
            }
            for (; i < count; i++) {
                s0 += e[i];
            }
        }
        return max + StrictMath.log((s0 + s1) + (s2 + s3));
    }

    private static float max(float[] x, int n) {
        FloatVector most = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
        int i = 0;
        for (; i <= n - F.length(); i += F.length()) {
            most = most.max(FloatVector.fromArray(F, x, i));
        }
        float max = most.reduceLanes(VectorOperators.MAX);
        for (; i < n; i++) {
            max = Math.max(max, x[i]);
        }
        return max;
    }

    /// `e[i] = exp(x[from + i] - minus)`
    private static void exps(double[] e, float[] x, int from, int count, double minus) {
        for (int i = 0; i < count; i++) {
            e[i] = x[from + i] - minus;
        }
        // The array is as long as a chunk, so the last vector is whole.
        for (int i = 0; i < count; i += D.length()) {
            Exp.exp(DoubleVector.fromArray(D, e, i)).intoArray(e, i);
        }
    }
}
