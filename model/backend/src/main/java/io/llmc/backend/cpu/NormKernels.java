// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Norms and rotary positions: row by row.
final class NormKernels {
    /// Elements of a tile, in whole rows.
    private static final int TILE = 16384;

    private final Workers workers;

    NormKernels(Workers workers) {
        this.workers = workers;
    }

    /// Changes `x[0, cols)`, a row.
    private interface Body {
        void run(long row, float[] x, Scratch scratch);
    }

    private void forEachRow(Tensor out, Tensor x, Body body) {
        int cols = Math.toIntExact(x.cols());
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        int rowsPerTile = Math.max(1, TILE / Math.max(1, cols));
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(x.rows(), (long) rowsPerTile)),
                (tile, scratch) -> {
                    float[] a = scratch.floats(0, Lanes.padded(cols));
                    long end = Math.min(x.rows(), (tile + 1L) * rowsPerTile);
                    for (long t = (long) tile * rowsPerTile; t < end; t++) {
                        Lanes.read(a, 0, xs, DType.F32, t * cols, cols);
                        body.run(t, a, scratch);
                        Lanes.write(outs, DType.F32, t * cols, a, 0, cols);
                    }
                });
    }

    void rmsNorm(Tensor out, Tensor x, Tensor weight, float eps, float offset) {
        int cols = Math.toIntExact(x.cols());
        float[] w = parameters(weight, cols, 1 - offset);
        for (int i = 0; i < cols; i++) {
            w[i] += offset;
        }
        forEachRow(
                out,
                x,
                (_, a, _) -> {
                    float inverse = (float) (1 / Math.sqrt(squares(a, cols, 0) / cols + eps));
                    for (int i = 0; i < cols; i += N) {
                        FloatVector.fromArray(F, a, i)
                                .mul(inverse)
                                .mul(FloatVector.fromArray(F, w, i))
                                .intoArray(a, i);
                    }
                });
    }

    void layerNorm(Tensor out, Tensor x, Tensor weight, Tensor bias, float eps) {
        int cols = Math.toIntExact(x.cols());
        float[] w = parameters(weight, cols, 1);
        float[] b = parameters(bias, cols, 0);
        forEachRow(
                out,
                x,
                (_, a, _) -> {
                    double mean = sum(a, cols) / cols;
                    double inverse = 1 / Math.sqrt(squares(a, cols, mean) / cols + eps);
                    float m = (float) mean;
                    float s = (float) inverse;
                    for (int i = 0; i < cols; i += N) {
                        FloatVector.fromArray(F, a, i)
                                .sub(m)
                                .mul(s)
                                .fma(FloatVector.fromArray(F, w, i), FloatVector.fromArray(F, b, i))
                                .intoArray(a, i);
                    }
                });
    }

    void rope(Tensor out, Tensor x, Tensor cosSin, int headDim, int length, boolean interleaved) {
        int cols = Math.toIntExact(x.cols());
        int rotated = Math.toIntExact(cosSin.cols());
        int pairs = rotated / 2;
        MemorySegment table = cosSin.bytes();
        forEachRow(
                out,
                x,
                (t, a, scratch) -> {
                    float[] cs = scratch.floats(1, rotated);
                    Lanes.read(cs, 0, table, DType.F32, t % length * rotated, rotated);
                    for (int head = 0; head < cols; head += headDim) {
                        if (interleaved) {
                            rotateNeighbours(a, head, cs, pairs);
                        } else {
                            rotateHalves(a, head, cs, pairs);
                        }
                    }
                });
    }

    private static void rotateNeighbours(float[] x, int head, float[] cs, int pairs) {
        for (int k = 0; k < pairs; k++) {
            float a = x[head + 2 * k];
            float b = x[head + 2 * k + 1];
            x[head + 2 * k] = Math.fma(a, cs[k], -(b * cs[pairs + k]));
            x[head + 2 * k + 1] = Math.fma(b, cs[k], a * cs[pairs + k]);
        }
    }

    private static void rotateHalves(float[] x, int head, float[] cs, int pairs) {
        int k = 0;
        for (; k <= pairs - N; k += N) {
            FloatVector a = FloatVector.fromArray(F, x, head + k);
            FloatVector b = FloatVector.fromArray(F, x, head + pairs + k);
            FloatVector c = FloatVector.fromArray(F, cs, k);
            FloatVector s = FloatVector.fromArray(F, cs, pairs + k);
            a.fma(c, b.mul(s).neg()).intoArray(x, head + k);
            b.fma(c, a.mul(s)).intoArray(x, head + pairs + k);
        }
        for (; k < pairs; k++) {
            float a = x[head + k];
            float b = x[head + pairs + k];
            x[head + k] = Math.fma(a, cs[k], -(b * cs[pairs + k]));
            x[head + pairs + k] = Math.fma(b, cs[k], a * cs[pairs + k]);
        }
    }

    /// A row of parameters in whole vectors, or `absent` everywhere.
    private static float[] parameters(Tensor t, int cols, float absent) {
        float[] values = new float[Lanes.padded(cols)];
        if (t == null) {
            java.util.Arrays.fill(values, absent);
        } else {
            Lanes.read(values, 0, t.bytes(), t.dtype(), 0, cols);
        }
        return values;
    }

    /// Eight sums whose order no vector width changes.
    private static double squares(float[] x, int n, double mean) {
        double[] s = new double[8];
        for (int i = 0; i < n; i++) {
            double d = x[i] - mean;
            s[i & 7] += d * d;
        }
        return total(s);
    }

    private static double sum(float[] x, int n) {
        double[] s = new double[8];
        for (int i = 0; i < n; i++) {
            s[i & 7] += x[i];
        }
        return total(s);
    }

    private static double total(double[] s) {
        return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
    }

    /// A tile is a range of columns, so that rows are added in their order.
    void columnNorms(Tensor sum, Tensor x, int power) {
        int width = 256;
        int cols = Math.toIntExact(x.cols());
        MemorySegment sums = sum.bytes();
        MemorySegment xs = x.bytes();
        workers.forEach(
                Math.ceilDiv(cols, width),
                (tile, scratch) -> {
                    int first = tile * width;
                    int n = Math.min(width, cols - first);
                    float[] row = scratch.floats(0, n);
                    double[] total = scratch.doubles(0, n);
                    MemorySegment.copy(sums, Lanes.F64, 8L * first, total, 0, n);
                    for (long r = 0; r < x.rows(); r++) {
                        Lanes.read(row, 0, xs, x.dtype(), r * cols + first, n);
                        if (power == 2) {
                            for (int c = 0; c < n; c++) {
                                total[c] += (double) row[c] * row[c];
                            }
                        } else {
                            for (int c = 0; c < n; c++) {
                                total[c] += Math.abs(row[c]);
                            }
                        }
                    }
                    MemorySegment.copy(total, 0, sums, Lanes.F64, 8L * first, n);
                });
    }

    void rowSquares(Tensor out, Tensor x) {
        int cols = Math.toIntExact(x.cols());
        int rows = Math.toIntExact(x.rows());
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        int perTile = 16;
        workers.forEach(
                Math.ceilDiv(rows, perTile),
                (tile, scratch) -> {
                    float[] row = scratch.floats(0, cols);
                    for (int r = tile * perTile; r < Math.min(rows, (tile + 1) * perTile); r++) {
                        Lanes.read(row, 0, xs, x.dtype(), (long) r * cols, cols);
                        double total = 0;
                        for (int c = 0; c < cols; c++) {
                            total += (double) row[c] * row[c];
                        }
                        outs.set(Lanes.F64, 8L * r, total);
                    }
                });
    }
}
