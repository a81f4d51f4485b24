// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.GradientOp;
import io.llmc.backend.OptimizerOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Gradients of everything that works row by row or element by element.
///
/// A tile is a range of rows where rows do not meet, and a range of columns where they are summed,
/// in their order: so no number of threads changes a bit.
final class GradKernels {
    private static final int CHUNK = 1024;
    private static final int TILE = 8 * CHUNK;

    /// Columns of a tile where rows are summed.
    private static final int WIDTH = 256;

    private final Workers workers;

    GradKernels(Workers workers) {
        this.workers = workers;
    }

    /// Works on `[0, n)` of up to four arrays, padded to whole vectors; changes the first ones.
    private interface Body {
        void run(float[][] x, int n);
    }

    /// @param outs how many of the tensors, the first ones, are written back
    private void forEach(int outs, Body body, Tensor... tensors) {
        long size = tensors[0].shape().size();
        MemorySegment[] bytes = new MemorySegment[tensors.length];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = tensors[i].bytes();
        }
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(size, (long) TILE)),
                (tile, scratch) -> {
                    float[][] x = new float[tensors.length][];
                    for (int i = 0; i < x.length; i++) {
                        x[i] = scratch.floats(i, CHUNK);
                    }
                    long end = Math.min(size, (tile + 1L) * TILE);
                    for (long from = (long) tile * TILE; from < end; from += CHUNK) {
                        int n = (int) Math.min(CHUNK, end - from);
                        for (int i = 0; i < x.length; i++) {
                            Lanes.read(x[i], 0, bytes[i], tensors[i].dtype(), from, n);
                        }
                        body.run(x, Lanes.padded(n));
                        for (int i = 0; i < outs; i++) {
                            Lanes.write(bytes[i], DType.F32, from, x[i], 0, n);
                        }
                    }
                });
    }

    void scaled(Tensor sum, Tensor x, float factor) {
        forEach(
                1,
                (a, n) -> {
                    FloatVector f = FloatVector.broadcast(F, factor);
                    for (int i = 0; i < n; i += N) {
                        at(a[1], i).fma(f, at(a[0], i)).intoArray(a[0], i);
                    }
                },
                sum,
                x);
    }

    private static FloatVector at(float[] x, int i) {
        return FloatVector.fromArray(F, x, i);
    }

    void softcap(Tensor dx, Tensor dout, Tensor out, float cap) {
        forEach(
                1,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector tanh = at(a[2], i).div(cap);
                        FloatVector slope = tanh.neg().fma(tanh, FloatVector.broadcast(F, 1f));
                        at(a[1], i).fma(slope, at(a[0], i)).intoArray(a[0], i);
                    }
                },
                dx,
                dout,
                out);
    }

    void activate(Tensor dx, Tensor dout, Tensor x, Activation activation) {
        forEach(
                1,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector slope = slope(at(a[2], i), activation);
                        at(a[1], i).fma(slope, at(a[0], i)).intoArray(a[0], i);
                    }
                },
                dx,
                dout,
                x);
    }

    void gated(
            Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up, Activation activation) {
        forEach(
                2,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector g = at(a[3], i);
                        FloatVector d = at(a[2], i);
                        d.mul(at(a[4], i))
                                .fma(slope(g, activation), at(a[0], i))
                                .intoArray(a[0], i);
                        d.fma(value(g, activation), at(a[1], i)).intoArray(a[1], i);
                    }
                },
                dgate,
                dup,
                dout,
                gate,
                up);
    }

    private static FloatVector value(FloatVector x, Activation activation) {
        return switch (activation) {
            case SILU -> Exp.timesSigmoid(x, x);
            case GELU_TANH -> Exp.timesSigmoid(x, inner(x).mul(2f));
            case GELU_ERF -> lanewise(x, v -> v * phi(v));
            case RELU -> x.blend(0f, x.compare(VectorOperators.LT, 0f));
        };
    }

    /// The derivative of an activation.
    private static FloatVector slope(FloatVector x, Activation activation) {
        FloatVector one = FloatVector.broadcast(F, 1f);
        return switch (activation) {
            case SILU -> {
                FloatVector s = Exp.timesSigmoid(one, x);
                yield s.mul(x.fma(one.sub(s), one));
            }
            case GELU_TANH -> {
                // x s(2u): s + 2 x s (1 - s) u'
                FloatVector s = Exp.timesSigmoid(one, inner(x).mul(2f));
                FloatVector du = x.mul(x).mul(3 * 0.044715f).add(1f).mul(0.7978845608f);
                yield x.mul(s).mul(one.sub(s)).mul(du).fma(FloatVector.broadcast(F, 2f), s);
            }
            case GELU_ERF ->
                    lanewise(x, v -> phi(v) + v * StrictMath.exp(-v * v / 2) * 0.3989422804014327);
            case RELU -> {
                VectorMask<Float> positive = x.compare(VectorOperators.GT, 0f);
                yield FloatVector.zero(F).blend(1f, positive);
            }
        };
    }

    /// `sqrt(2/pi) (x + 0.044715 x^3)`
    private static FloatVector inner(FloatVector x) {
        return x.mul(x).mul(x).mul(0.044715f).add(x).mul(0.7978845608f);
    }

    private interface Scalar {
        double of(double x);
    }

    private static FloatVector lanewise(FloatVector x, Scalar f) {
        float[] v = x.toArray();
        for (int i = 0; i < v.length; i++) {
            v[i] = (float) f.of(v[i]);
        }
        return FloatVector.fromArray(F, v, 0);
    }

    /// The normal distribution's cumulative function, by Numerical Recipes' fit of erfc.
    private static double phi(double x) {
        double z = Math.abs(x) * 0.7071067811865476;
        double t = 1 / (1 + 0.5 * z);
        double p = 0.17087277;
        double[] c = {
            -0.82215223,
            1.48851587,
            -1.13520398,
            0.27886807,
            -0.18628806,
            0.09678418,
            0.37409196,
            1.00002368,
            -1.26551223
        };
        for (double k : c) {
            p = p * t + k;
        }
        double half = t * StrictMath.exp(p - z * z) / 2;
        return x >= 0 ? 1 - half : half;
    }

    void adamW(Tensor w, Tensor m, Tensor v, Tensor g, OptimizerOp.AdamSpec spec) {
        AdamUpdate update = new AdamUpdate(spec);
        forEach(3, (a, n) -> update.run(a[0], a[1], a[2], a[3], n), w, m, v, g);
    }

    private interface RowBody {
        void run(long row, Scratch scratch);
    }

    private void forEachRow(long rows, long cols, RowBody body) {
        long perTile = Math.max(1, TILE / Math.max(1, cols));
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(rows, perTile)),
                (tile, scratch) -> {
                    long end = Math.min(rows, (tile + 1L) * perTile);
                    for (long r = tile * perTile; r < end; r++) {
                        body.run(r, scratch);
                    }
                });
    }

    void columns(Tensor dx, Tensor dout, long from) {
        int n = Math.toIntExact(dout.cols());
        MemorySegment sums = dx.bytes();
        MemorySegment douts = dout.bytes();
        forEachRow(
                dout.rows(),
                n,
                (r, scratch) -> {
                    float[] a = scratch.floats(0, Lanes.padded(n));
                    float[] b = scratch.floats(1, Lanes.padded(n));
                    long at = r * dx.cols() + from;
                    Lanes.read(a, 0, sums, DType.F32, at, n);
                    Lanes.read(b, 0, douts, DType.F32, r * n, n);
                    for (int i = 0; i < n; i += N) {
                        at(a, i).add(at(b, i)).intoArray(a, i);
                    }
                    Lanes.write(sums, DType.F32, at, a, 0, n);
                });
    }

    void rope(Tensor dx, Tensor dout, Tensor cosSin, int headDim, int length, boolean interleaved) {
        int cols = Math.toIntExact(dx.cols());
        int rotated = Math.toIntExact(cosSin.cols());
        int pairs = rotated / 2;
        MemorySegment sums = dx.bytes();
        MemorySegment douts = dout.bytes();
        MemorySegment table = cosSin.bytes();
        forEachRow(
                dx.rows(),
                cols,
                (t, scratch) -> {
                    float[] a = scratch.floats(0, Lanes.padded(cols));
                    float[] d = scratch.floats(1, Lanes.padded(cols));
                    float[] cs = scratch.floats(2, rotated);
                    Lanes.read(a, 0, sums, DType.F32, t * cols, cols);
                    Lanes.read(d, 0, douts, DType.F32, t * cols, cols);
                    Lanes.read(cs, 0, table, DType.F32, t % length * rotated, rotated);
                    for (int head = 0; head < cols; head += headDim) {
                        for (int k = 0; k < pairs; k++) {
                            int i = head + (interleaved ? 2 * k : k);
                            int j = head + (interleaved ? 2 * k + 1 : pairs + k);
                            a[i] += Math.fma(d[i], cs[k], d[j] * cs[pairs + k]);
                            a[j] += Math.fma(d[j], cs[k], -(d[i] * cs[pairs + k]));
                        }
                        for (int i = head + rotated; i < head + headDim; i++) {
                            a[i] += d[i];
                        }
                    }
                    Lanes.write(sums, DType.F32, t * cols, a, 0, cols);
                });
    }

    /// `dx = inverse (g - x inverse^2 mean(g x))` with `g = dout w`, and `dw = sum_t dout x
    /// inverse`.
    void rmsNorm(GradientOp.AccumulateRmsNormGrad op) {
        int cols = Math.toIntExact(op.x().cols());
        float[] w = parameters(op.weight(), cols, 1 - op.offset());
        for (int i = 0; i < cols; i++) {
            w[i] += op.offset();
        }
        float[] inverses = new float[Math.toIntExact(op.x().rows())];
        MemorySegment xs = op.x().bytes();
        MemorySegment douts = op.dout().bytes();
        MemorySegment sums = op.dx().bytes();
        forEachRow(
                op.x().rows(),
                cols,
                (t, scratch) -> {
                    float[] x = scratch.floats(0, Lanes.padded(cols));
                    float[] g = scratch.floats(1, Lanes.padded(cols));
                    float[] a = scratch.floats(2, Lanes.padded(cols));
                    Lanes.read(x, 0, xs, DType.F32, t * cols, cols);
                    Lanes.read(g, 0, douts, DType.F32, t * cols, cols);
                    Lanes.read(a, 0, sums, DType.F32, t * cols, cols);
                    double squares = 0;
                    double cross = 0;
                    for (int i = 0; i < cols; i++) {
                        g[i] *= w[i];
                        squares += (double) x[i] * x[i];
                        cross += (double) g[i] * x[i];
                    }
                    double inverse = 1 / Math.sqrt(squares / cols + op.eps());
                    inverses[(int) t] = (float) inverse;
                    FloatVector back =
                            FloatVector.broadcast(
                                    F, (float) (-cross / cols * inverse * inverse * inverse));
                    FloatVector scale = FloatVector.broadcast(F, (float) inverse);
                    for (int i = 0; i < cols; i += N) {
                        at(x, i).fma(back, at(g, i).fma(scale, at(a, i))).intoArray(a, i);
                    }
                    Lanes.write(sums, DType.F32, t * cols, a, 0, cols);
                });
        if (op.dweight() != null) {
            sumRows(
                    op.dweight(),
                    op.x().rows(),
                    cols,
                    (total, t, first, n, scratch) -> {
                        float[] x = scratch.floats(0, n);
                        float[] d = scratch.floats(1, n);
                        Lanes.read(x, 0, xs, DType.F32, t * cols + first, n);
                        Lanes.read(d, 0, douts, DType.F32, t * cols + first, n);
                        for (int i = 0; i < n; i++) {
                            total[i] += (double) d[i] * x[i] * inverses[(int) t];
                        }
                    });
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
        forEachRow(
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
            sumRows(
                    op.dweight(),
                    rows,
                    cols,
                    (total, t, first, n, scratch) -> {
                        float[] x = scratch.floats(0, n);
                        float[] d = scratch.floats(1, n);
                        Lanes.read(x, 0, xs, DType.F32, t * cols + first, n);
                        Lanes.read(d, 0, douts, DType.F32, t * cols + first, n);
                        for (int i = 0; i < n; i++) {
                            total[i] += (double) d[i] * (x[i] - means[(int) t]) * inverses[(int) t];
                        }
                    });
        }
        if (op.dbias() != null) {
            columnSums(op.dbias(), op.dout());
        }
    }

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

    void rows(GradientOp.AccumulateRowsGrad op) {
        int cols = Math.toIntExact(op.x().cols());
        MemorySegment dxs = op.dx().bytes();
        MemorySegment dsums = op.dsum().bytes();
        MemorySegment xs = op.x().bytes();
        MemorySegment index = op.rows().bytes();
        MemorySegment weights = op.weights() == null ? null : op.weights().bytes();
        MemorySegment dweights = op.dweights() == null ? null : op.dweights().bytes();
        forEachRow(
                op.x().rows(),
                cols,
                (r, scratch) -> {
                    float[] d = scratch.floats(0, Lanes.padded(cols));
                    float[] a = scratch.floats(1, Lanes.padded(cols));
                    Lanes.read(d, 0, dsums, DType.F32, (long) index.get(I32, 4 * r) * cols, cols);
                    Lanes.read(a, 0, dxs, DType.F32, r * cols, cols);
                    float f = op.factor() * (weights == null ? 1 : weights.get(F32, 4 * r));
                    FloatVector factor = FloatVector.broadcast(F, f);
                    for (int i = 0; i < cols; i += N) {
                        at(d, i).fma(factor, at(a, i)).intoArray(a, i);
                    }
                    Lanes.write(dxs, DType.F32, r * cols, a, 0, cols);
                    if (dweights != null) {
                        Lanes.read(a, 0, xs, DType.F32, r * cols, cols);
                        double dot = 0;
                        for (int i = 0; i < cols; i++) {
                            dot += (double) a[i] * d[i];
                        }
                        float before = dweights.get(F32, 4 * r);
                        dweights.set(F32, 4 * r, (float) (before + op.factor() * dot));
                    }
                });
    }

    /// With p the softmax over all experts, c the chosen ones, and `w = p_c / sum` where
    /// renormalised: `dp_c = (dw_c - sum_k dw_k w_k) / sum`, else `dp_c = dw_c`; then the softmax.
    void route(GradientOp.AccumulateRouteGrad op) {
        int n = Math.toIntExact(op.logits().cols());
        int k = Math.toIntExact(op.weights().cols());
        MemorySegment logits = op.logits().bytes();
        MemorySegment weights = op.weights().bytes();
        MemorySegment dweights = op.dweights().bytes();
        MemorySegment experts = op.experts().bytes();
        MemorySegment sums = op.dlogits().bytes();
        forEachRow(
                op.logits().rows(),
                n,
                (t, scratch) -> {
                    float[] x = scratch.floats(0, n);
                    double[] p = scratch.doubles(0, n);
                    double[] dp = scratch.doubles(1, n);
                    Lanes.read(x, 0, logits, DType.F32, t * n, n);
                    softmax(x, p, n);
                    Arrays.fill(dp, 0, n, 0);
                    double chosen = 0;
                    double cross = 0;
                    for (int j = 0; j < k; j++) {
                        long at = 4 * (t * k + j);
                        chosen += p[experts.get(I32, at)];
                        cross += (double) dweights.get(F32, at) * weights.get(F32, at);
                    }
                    for (int j = 0; j < k; j++) {
                        long at = 4 * (t * k + j);
                        double d = dweights.get(F32, at);
                        dp[experts.get(I32, at)] = op.renormalise() ? (d - cross) / chosen : d;
                    }
                    double mean = 0;
                    for (int i = 0; i < n; i++) {
                        mean += dp[i] * p[i];
                    }
                    for (int i = 0; i < n; i++) {
                        long at = 4 * (t * n + i);
                        sums.set(F32, at, (float) (sums.get(F32, at) + p[i] * (dp[i] - mean)));
                    }
                });
    }

    private static void softmax(float[] x, double[] p, int n) {
        double max = Double.NEGATIVE_INFINITY;
        for (int i = 0; i < n; i++) {
            max = Math.max(max, x[i]);
        }
        double sum = 0;
        for (int i = 0; i < n; i++) {
            p[i] = StrictMath.exp(x[i] - max);
            sum += p[i];
        }
        for (int i = 0; i < n; i++) {
            p[i] /= sum;
        }
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
