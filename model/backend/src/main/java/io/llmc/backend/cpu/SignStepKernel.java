// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.OptimizerOp;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Steps of learned rounding, row by row.
final class SignStepKernel {
    private final Workers workers;

    SignStepKernel(Workers workers) {
        this.workers = workers;
    }

    void run(OptimizerOp.AccumulateSignStep op) {
        int in = Math.toIntExact(op.w().cols());
        int groups = Math.toIntExact(op.scales().cols());
        int length = Math.toIntExact(Math.min(in, op.spec().tiles().width(in)));
        MemorySegment ws = op.w().bytes();
        MemorySegment gs = op.g().bytes();
        MemorySegment scales = op.scales().bytes();
        MemorySegment zeros = op.zeros().bytes();
        workers.forEachRow(
                op.w().rows(),
                in,
                (r, scratch) -> {
                    float[] w = scratch.floats(0, in + N);
                    float[] g = scratch.floats(1, in + N);
                    float[] s = scratch.floats(2, groups);
                    byte[] codes = scratch.octets(in);
                    Lanes.read(w, 0, ws, DType.F32, r * in, in);
                    Lanes.read(g, 0, gs, DType.F32, r * in, in);
                    Lanes.read(s, 0, scales, DType.F32, r * groups, groups);
                    MemorySegment.copy(
                            op.codes().bytes(), ValueLayout.JAVA_BYTE, r * in, codes, 0, in);
                    for (int k = 0; k < groups; k++) {
                        int zero = zeros.get(ValueLayout.JAVA_BYTE, r * groups + k) & 0xff;
                        int from = k * length;
                        int to = Math.min(in, from + length);
                        double slope = slope(g, codes, zero, from, to);
                        move(w, g, from, to, s[k], zero, op);
                        float against = (float) Math.signum(slope) * Math.signum(s[k]);
                        s[k] *= 1 - op.step().rangeRate() * against;
                    }
                    fade(g, in, op.step().momentum());
                    Lanes.write(ws, DType.F32, r * in, w, 0, in);
                    Lanes.write(gs, DType.F32, r * in, g, 0, in);
                    Lanes.write(scales, DType.F32, r * groups, s, 0, groups);
                });
    }

    /// How the loss changes with a scale. Four sums by turns, the same in every vector width.
    private static double slope(float[] g, byte[] codes, int zero, int from, int to) {
        double[] sums = new double[4];
        for (int i = from; i < to; i++) {
            sums[i & 3] += (double) g[i] * ((codes[i] & 0xff) - zero);
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    private static void move(
            float[] w,
            float[] g,
            int from,
            int to,
            float scale,
            int zero,
            OptimizerOp.AccumulateSignStep op) {
        float step = op.step().rate() * Math.abs(scale);
        float first = (-zero - 0.5f) * scale;
        float last = (op.spec().codes().maxCode() - zero + 0.5f) * scale;
        float low = Math.min(first, last);
        float high = Math.max(first, last);
        for (int i = from; i < to; i += N) {
            var here = F.indexInRange(i, to);
            FloatVector x = FloatVector.fromArray(F, w, i);
            FloatVector slope = FloatVector.fromArray(F, g, i);
            x.sub(step, slope.compare(VectorOperators.GT, 0f))
                    .add(step, slope.compare(VectorOperators.LT, 0f))
                    .max(low)
                    .min(high)
                    .intoArray(w, i, here);
        }
    }

    private static void fade(float[] g, int n, float momentum) {
        for (int i = 0; i < n; i += N) {
            FloatVector.fromArray(F, g, i).mul(momentum).intoArray(g, i);
        }
    }
}
