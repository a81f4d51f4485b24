// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.GradientOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/// Gradients of norms and biases.
///
/// A tile is a range of rows where rows do not meet, and a range of columns where they are summed,
/// in their order: so no number of threads changes a bit.
final class NormGradKernels {
    /// Columns of a tile where rows are summed.
    private static final int WIDTH = 256;

    private final Workers workers;

    NormGradKernels(Workers workers) {
        this.workers = workers;
    }

    /// `dx = inverse (g - x inverse^2 mean(g x))` with `g = dout w`, and `dw = sum_t dout x
    /// inverse`.
    void rmsNorm(GradientOp.AccumulateRmsNormGrad op) {
        int cols = Math.toIntExact(op.x().cols());
        // A weight that is stored minus 1 (gemma) gets it back; none at all is 1.
        float[] w = parameters(op.weight(), cols, 1 - op.offset());
        for (int i = 0; i < cols; i++) {
            w[i] += op.offset();
        }
        float[] inverses = new float[Math.toIntExact(op.x().rows())];
        MemorySegment xs = op.x().bytes();
        MemorySegment douts = op.dout().bytes();
        MemorySegment sums = op.dx().bytes();
        workers.forEachRow(
                op.x().rows(),
                cols,
                (t, scratch) -> {
                    float[] x = scratch.floats(0, Lanes.padded(cols));
                    float[] g = scratch.floats(1, Lanes.padded(cols));
                    float[] a = scratch.floats(2, Lanes.padded(cols));
                    Lanes.read(x, 0, xs, DType.F32, t * cols, cols);
                    Lanes.read(g, 0, douts, DType.F32, t * cols, cols);
                    Lanes.read(a, 0, sums, DType.F32, t * cols, cols);
                    // F64, as the forward pass has its sum of squares.
                    double squares = 0;
                    double cross = 0;
                    for (int i = 0; i < cols; i++) {
                        g[i] *= w[i];
                        squares += (double) x[i] * x[i];
                        cross += (double) g[i] * x[i];
                    }
                    double inverse = 1 / Math.sqrt(squares / cols + op.eps());
                    // Kept for the weight's gradient, which walks columns.
                    inverses[(int) t] = (float) inverse;
                    FloatVector back =
                            FloatVector.broadcast(
                                    F, (float) (-cross / cols * inverse * inverse * inverse));
                    FloatVector scale = FloatVector.broadcast(F, (float) inverse);
                    for (int i = 0; i < cols; i += N) {
                        FloatVector.fromArray(F, x, i)
                                .fma(
                                        back,
                                        FloatVector.fromArray(F, g, i)
                                                .fma(scale, FloatVector.fromArray(F, a, i)))
                                .intoArray(a, i);
                    }
                    Lanes.write(sums, DType.F32, t * cols, a, 0, cols);
                });
        if (op.dweight() != null) {
            weight(op.dweight(), op.dout(), op.x(), new float[inverses.length], inverses);
        }
    }

    /// With `y = (x - mean) inverse` and `g = dout w`: `dx = inverse (g - mean(g) - y mean(g y))`.
    void layerNorm(GradientOp.AccumulateLayerNormGrad op) {
        int cols = Math.toIntExact(op.x().cols());
        int rows = Math.toIntExact(op.x().rows());
        float[] w = parameters(op.weight(), cols, 1);
        float[] inverses = new float[rows];
        float[] means = new float[rows];
        MemorySegment xs = op.x().bytes();
        MemorySegment douts = op.dout().bytes();
        MemorySegment sums = op.dx().bytes();
        workers.forEachRow(
                rows,
                cols,
                (t, scratch) -> {
                    float[] x = scratch.floats(0, cols);
                    float[] g = scratch.floats(1, cols);
                    float[] a = scratch.floats(2, cols);
                    Lanes.read(x, 0, xs, DType.F32, t * cols, cols);
                    Lanes.read(g, 0, douts, DType.F32, t * cols, cols);
                    Lanes.read(a, 0, sums, DType.F32, t * cols, cols);
                    double mean = 0;
                    for (int i = 0; i < cols; i++) {
                        mean += x[i];
                    }
                    // Twice through the row: `E x^2 - (E x)^2` would lose small differences.
                    mean /= cols;
                    double squares = 0;
                    for (int i = 0; i < cols; i++) {
                        squares += (x[i] - mean) * (x[i] - mean);
                    }
                    double inverse = 1 / Math.sqrt(squares / cols + op.eps());
                    double sum = 0;
                    double cross = 0;
                    for (int i = 0; i < cols; i++) {
                        g[i] *= w[i];
                        sum += g[i];
                        cross += g[i] * (x[i] - mean) * inverse;
                    }
                    for (int i = 0; i < cols; i++) {
                        double y = (x[i] - mean) * inverse;
                        a[i] += (float) (inverse * (g[i] - sum / cols - y * cross / cols));
                    }
                    means[(int) t] = (float) mean;
                    inverses[(int) t] = (float) inverse;
                    Lanes.write(sums, DType.F32, t * cols, a, 0, cols);
                });
        if (op.dweight() != null) {
            weight(op.dweight(), op.dout(), op.x(), means, inverses);
        }
        if (op.dbias() != null) {
            columnSums(op.dbias(), op.dout());
        }
    }

    /// `sum[c] += sum_t dout[t,c] (x[t,c] - means[t]) inverses[t]`
    private void weight(Tensor sum, Tensor dout, Tensor x, float[] means, float[] inverses) {
        int cols = Math.toIntExact(x.cols());
        MemorySegment xs = x.bytes();
        MemorySegment douts = dout.bytes();
        sumRows(
                sum,
                x.rows(),
                cols,
                (total, t, first, n, scratch) -> {
                    float[] row = scratch.floats(0, n);
                    float[] d = scratch.floats(1, n);
                    Lanes.read(row, 0, xs, DType.F32, t * cols + first, n);
                    Lanes.read(d, 0, douts, DType.F32, t * cols + first, n);
                    for (int i = 0; i < n; i++) {
                        total[i] += (double) d[i] * (row[i] - means[(int) t]) * inverses[(int) t];
                    }
                });
    }

    /// `sum[c] += sum_t x[t,c]`
    void columnSums(Tensor sum, Tensor x) {
        int cols = Math.toIntExact(x.cols());
        MemorySegment xs = x.bytes();
        sumRows(
                sum,
                x.rows(),
                cols,
                (total, t, first, n, scratch) -> {
                    float[] row = scratch.floats(0, n);
                    Lanes.read(row, 0, xs, DType.F32, t * cols + first, n);
                    for (int i = 0; i < n; i++) {
                        total[i] += row[i];
                    }
                });
    }

    private interface RowSum {
        /// Adds `[first, first + n)` of row t.
        void add(double[] total, long t, int first, int n, Scratch scratch);
    }

    /// Rows in their order, in F64, for a range of columns at a time; rounded once, when added.
    private void sumRows(Tensor sum, long rows, int cols, RowSum body) {
        MemorySegment sums = sum.bytes();
        workers.forEach(
                Math.ceilDiv(cols, WIDTH),
                (tile, scratch) -> {
                    int first = tile * WIDTH;
                    int n = Math.min(WIDTH, cols - first);
                    double[] total = scratch.doubles(0, n);
                    Arrays.fill(total, 0, n, 0);
                    for (long t = 0; t < rows; t++) {
                        body.add(total, t, first, n, scratch);
                    }
                    for (int i = 0; i < n; i++) {
                        long at = 4L * (first + i);
                        sums.set(F32, at, (float) (sums.get(F32, at) + total[i]));
                    }
                });
    }

    /// A row of parameters in whole vectors, or `absent` everywhere.
    private static float[] parameters(Tensor t, int cols, float absent) {
        float[] values = new float[Lanes.padded(cols)];
        if (t == null) {
            Arrays.fill(values, absent);
        } else {
            Lanes.read(values, 0, t.bytes(), t.dtype(), 0, cols);
        }
        return values;
    }
}
