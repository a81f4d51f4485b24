// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.CompressionOp;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Coordinate descent over one group of columns: sequential over columns, one lane a row, so that
/// sums run along a row in its order, in every vector width.
final class DescentKernel {
    private final Workers workers;

    DescentKernel(Workers workers) {
        this.workers = workers;
    }

    /// What a tile of N rows works on, each `[n][N]`.
    ///
    /// @param r half of the error's gradient by the values
    /// @param q codes
    /// @param v values
    /// @param was values before
    /// @param d what another scale would change
    private record Tile(
            float[] r, float[] q, float[] v, float[] was, float[] d, int first, int count, int n) {
        FloatVector r(int k) {
            return FloatVector.fromArray(F, r, k * N);
        }

        FloatVector q(int k) {
            return FloatVector.fromArray(F, q, k * N);
        }

        FloatVector v(int k) {
            return FloatVector.fromArray(F, v, k * N);
        }

        FloatVector d(int k) {
            return FloatVector.fromArray(F, d, k * N);
        }
    }

    void run(CompressionOp.AccumulateDescent op) {
        int from = op.from();
        int n = op.to() - from;
        int cols = Math.toIntExact(op.r().cols());
        int rows = Math.toIntExact(op.r().rows());
        float[] h = new float[n * n];
        for (int j = 0; j < n; j++) {
            Lanes.read(h, j * n, op.h().bytes(), DType.F32, (long) (from + j) * cols + from, n);
        }
        workers.forEach(
                Math.ceilDiv(rows, N),
                (index, scratch) -> {
                    int first = index * N;
                    Tile t =
                            new Tile(
                                    scratch.floats(1, n * N),
                                    scratch.floats(2, n * N),
                                    scratch.floats(3, n * N),
                                    scratch.floats(4, n * N),
                                    scratch.floats(7, n * N),
                                    first,
                                    Math.min(N, rows - first),
                                    n);
                    float[] s = scratch.floats(5, N);
                    float[] z = scratch.floats(6, N);
                    read(op, t, s, z, scratch.floats(0, n));
                    FloatVector zero = FloatVector.fromArray(F, z, 0);
                    FloatVector scale = FloatVector.fromArray(F, s, 0);
                    DType type = op.scales().dtype();
                    for (int k = 0; k < n; k++) {
                        FloatVector value = QuantKernels.value(t.q(k), scale, zero, type);
                        value.intoArray(t.v, k * N);
                        value.intoArray(t.was, k * N);
                    }
                    moveCodes(t, h, scale, zero, op.spec().codes().maxCode(), type);
                    refit(t, h, scale, zero, type).intoArray(s, 0);
                    write(op, t, s, scratch.floats(0, n));
                });
    }

    private static void read(
            CompressionOp.AccumulateDescent op, Tile t, float[] s, float[] z, float[] row) {
        int cols = Math.toIntExact(op.r().cols());
        long groups = op.scales().cols();
        MemorySegment codes = op.codes().bytes();
        for (int i = 0; i < N; i++) {
            // Lanes without a row repeat the last one.
            long r = (long) t.first + Math.min(i, t.count - 1);
            Lanes.read(row, 0, op.r().bytes(), DType.F32, r * cols + op.from(), t.n);
            for (int k = 0; k < t.n; k++) {
                t.r[k * N + i] = row[k];
                t.q[k * N + i] = codes.get(ValueLayout.JAVA_BYTE, r * cols + op.from() + k) & 0xff;
            }
            Lanes.read(s, i, op.scales().bytes(), op.scales().dtype(), r * groups + op.group(), 1);
            z[i] = op.zeros().bytes().get(ValueLayout.JAVA_BYTE, r * groups + op.group()) & 0xff;
        }
    }

    /// Each column takes the code that is best while the others stay.
    private static void moveCodes(
            Tile t, float[] h, FloatVector scale, FloatVector zero, int max, DType type) {
        int n = t.n;
        for (int j = 0; j < n; j++) {
            float own = h[j * n + j];
            if (!(own > 0)) {
                continue; // an input that was never active says nothing
            }
            FloatVector best = t.v(j).sub(t.r(j).div(own));
            FloatVector code = QuantKernels.code(best, scale, zero, max);
            FloatVector value = QuantKernels.value(code, scale, zero, type);
            FloatVector change = value.sub(t.v(j));
            code.intoArray(t.q, j * N);
            value.intoArray(t.v, j * N);
            for (int k = 0; k < n; k++) {
                change.fma(FloatVector.broadcast(F, h[j * n + k]), t.r(k)).intoArray(t.r, k * N);
            }
        }
    }

    /// The scale of least squares for the codes, where the error falls by it as it is rounded.
    private static FloatVector refit(
            Tile t, float[] h, FloatVector scale, FloatVector zero, DType type) {
        FloatVector slope = FloatVector.zero(F);
        FloatVector bend = FloatVector.zero(F);
        for (int k = 0; k < t.n; k++) {
            FloatVector q = t.q(k).sub(zero);
            slope = q.fma(t.r(k), slope);
            bend = q.fma(product(t, h, k, zero), bend);
        }
        FloatVector fitted = Lanes.round(scale.sub(slope.div(bend)), type);
        for (int k = 0; k < t.n; k++) {
            QuantKernels.value(t.q(k), fitted, zero, type).sub(t.v(k)).intoArray(t.d, k * N);
        }
        FloatVector gain = FloatVector.zero(F);
        for (int k = 0; k < t.n; k++) {
            FloatVector sum = t.r(k).add(t.r(k));
            for (int j = 0; j < t.n; j++) {
                sum = t.d(j).fma(FloatVector.broadcast(F, h[j * t.n + k]), sum);
            }
            gain = t.d(k).fma(sum, gain);
        }
        var better =
                gain.compare(VectorOperators.LT, 0f)
                        .and(bend.compare(VectorOperators.GT, 0f))
                        .and(fitted.mul(scale).compare(VectorOperators.GT, 0f));
        FloatVector kept = scale.blend(fitted, better);
        for (int k = 0; k < t.n; k++) {
            QuantKernels.value(t.q(k), kept, zero, type).intoArray(t.v, k * N);
        }
        return kept;
    }

    /// `sum_j (code_j - zero) h_jk`
    private static FloatVector product(Tile t, float[] h, int k, FloatVector zero) {
        FloatVector sum = FloatVector.zero(F);
        for (int j = 0; j < t.n; j++) {
            sum = t.q(j).sub(zero).fma(FloatVector.broadcast(F, h[j * t.n + k]), sum);
        }
        return sum;
    }

    private static void write(CompressionOp.AccumulateDescent op, Tile t, float[] s, float[] row) {
        int cols = Math.toIntExact(op.r().cols());
        long groups = op.scales().cols();
        MemorySegment codes = op.codes().bytes();
        for (int i = 0; i < t.count; i++) {
            long r = (long) t.first + i;
            for (int k = 0; k < t.n; k++) {
                row[k] = t.was[k * N + i] - t.v[k * N + i];
                codes.set(ValueLayout.JAVA_BYTE, r * cols + op.from() + k, (byte) t.q[k * N + i]);
            }
            Lanes.write(op.errors().bytes(), DType.F32, r * t.n, row, 0, t.n);
            Lanes.write(op.scales().bytes(), op.scales().dtype(), r * groups + op.group(), s, i, 1);
        }
    }
}
