// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.function.BinaryOperator;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Element by element. A chunk is read into an array, computed in whole vectors and written: so an
/// element has the same bits wherever it stands.
final class ElementwiseKernels {
    /// Elements that stay in the first cache, two operands at a time.
    private static final int CHUNK = 2048;

    /// Elements of a tile.
    private static final int TILE = 8 * CHUNK;

    private final Workers workers;

    ElementwiseKernels(Workers workers) {
        this.workers = workers;
    }

    /// Work on `x[0, n)`, which is padded to whole vectors; `y` likewise.
    private interface Body {
        void run(float[] x, float[] y, int n);
    }

    /// `out = body(x, y)`; y may be null.
    private void forEach(Tensor out, Tensor x, Tensor y, Body body) {
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        MemorySegment ys = y == null ? null : y.bytes();
        long size = out.shape().size();
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(size, (long) TILE)),
                (tile, scratch) -> {
                    float[] a = scratch.floats(0, CHUNK);
                    float[] b = scratch.floats(1, CHUNK);
                    long end = Math.min(size, (tile + 1L) * TILE);
                    for (long from = (long) tile * TILE; from < end; from += CHUNK) {
                        int n = (int) Math.min(CHUNK, end - from);
                        Lanes.read(a, 0, xs, x.dtype(), from, n);
                        if (ys != null) {
                            Lanes.read(b, 0, ys, y.dtype(), from, n);
                        }
                        body.run(a, b, Lanes.padded(n));
                        Lanes.write(outs, out.dtype(), from, a, 0, n);
                    }
                });
    }

    void add(Tensor out, Tensor x, Tensor y, float scale) {
        forEach(
                out,
                x,
                y,
                (a, b, n) -> {
                    FloatVector s = FloatVector.broadcast(F, scale);
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, b, i)
                                .fma(s, FloatVector.fromArray(F, a, i))
                                .intoArray(a, i);
                    }
                });
    }

    void scale(Tensor out, Tensor x, float factor) {
        forEach(
                out,
                x,
                null,
                (a, _, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, a, i).mul(factor).intoArray(a, i);
                    }
                });
    }

    void softcap(Tensor out, Tensor x, float cap) {
        forEach(out, x, null, (a, _, n) -> softcap(a, 0, n, cap));
    }

    /// `x = cap * tanh(x / cap)`
    static void softcap(float[] x, int from, int n, float cap) {
        for (int i = from; i < from + n; i += N) {
            Exp.tanh(FloatVector.fromArray(F, x, i).div(cap)).mul(cap).intoArray(x, i);
        }
    }

    void clip(Tensor out, Tensor x, float most) {
        forEach(
                out,
                x,
                null,
                (a, _, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, a, i).max(-most).min(most).intoArray(a, i);
                    }
                });
    }

    void activate(Tensor out, Tensor x, Activation activation) {
        forEach(out, x, null, (a, _, n) -> activate(a, n, activation));
    }

    void gated(Tensor out, Tensor gate, Tensor up, Activation activation) {
        forEach(
                out,
                gate,
                up,
                (a, b, n) -> {
                    activate(a, n, activation);
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, a, i)
                                .mul(FloatVector.fromArray(F, b, i))
                                .intoArray(a, i);
                    }
                });
    }

    void multiply(Tensor out, Tensor x, Tensor y) {
        forEach(
                out,
                x,
                y,
                (a, b, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, a, i)
                                .mul(FloatVector.fromArray(F, b, i))
                                .intoArray(a, i);
                    }
                });
    }

    void clampedSwiGlu(ForwardOp.ClampedSwiGlu op) {
        ForwardOp.Clamp clamp = op.clamp();
        forEach(
                op.out(),
                op.gate(),
                op.up(),
                (a, b, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector g = FloatVector.fromArray(F, a, i).min(clamp.limit());
                        FloatVector u = within(FloatVector.fromArray(F, b, i), clamp.limit());
                        Exp.timesSigmoid(g, g.mul(clamp.alpha()))
                                .mul(u.add(clamp.shift()))
                                .intoArray(a, i);
                    }
                });
    }

    static FloatVector within(FloatVector x, float limit) {
        return x.min(limit).max(-limit);
    }

    void xielu(ForwardOp.Xielu op) {
        XieluCurve curve = XieluCurve.of(op.curve());
        forEach(
                op.out(),
                op.x(),
                null,
                (a, _, n) -> {
                    for (int i = 0; i < n; i += N) {
                        curve.value(FloatVector.fromArray(F, a, i)).intoArray(a, i);
                    }
                });
    }

    void addRow(Tensor out, Tensor x, Tensor row) {
        withRow(out, x, row, 0, FloatVector::add);
    }

    void multiplyRow(Tensor out, Tensor x, Tensor row, float offset) {
        withRow(out, x, row, offset, FloatVector::mul);
    }

    /// `out[t,:] = operator(x[t,:], offset + row)`
    private void withRow(
            Tensor out, Tensor x, Tensor row, float offset, BinaryOperator<FloatVector> operator) {
        int cols = Math.toIntExact(x.cols());
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        MemorySegment rows = row.bytes();
        int rowsPerTile = Math.max(1, TILE / cols);
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(x.rows(), (long) rowsPerTile)),
                (tile, scratch) -> {
                    float[] a = scratch.floats(0, Lanes.padded(cols));
                    float[] b = scratch.floats(1, Lanes.padded(cols));
                    Lanes.read(b, 0, rows, row.dtype(), 0, cols);
                    for (int i = 0; offset != 0 && i < cols; i += N) {
                        FloatVector.fromArray(F, b, i).add(offset).intoArray(b, i);
                    }
                    long end = Math.min(x.rows(), (tile + 1L) * rowsPerTile);
                    for (long t = (long) tile * rowsPerTile; t < end; t++) {
                        Lanes.read(a, 0, xs, DType.F32, t * cols, cols);
                        for (int i = 0; i < cols; i += N) {
                            operator.apply(
                                            FloatVector.fromArray(F, a, i),
                                            FloatVector.fromArray(F, b, i))
                                    .intoArray(a, i);
                        }
                        Lanes.write(outs, DType.F32, t * cols, a, 0, cols);
                    }
                });
    }

    /// One method an activation: what a model does not use is not compiled.
    private static void activate(float[] x, int n, Activation activation) {
        switch (activation) {
            case SILU -> silu(x, n);
            case GELU_TANH -> geluTanh(x, n);
            case GELU_ERF -> geluErf(x, n);
            case RELU -> relu(x, n);
            case SIGMOID -> sigmoid(x, n);
            case RELU_SQUARED -> reluSquared(x, n);
        }
    }

    private static void silu(float[] x, int n) {
        for (int i = 0; i < n; i += N) {
            FloatVector v = FloatVector.fromArray(F, x, i);
            Exp.timesSigmoid(v, v).intoArray(x, i);
        }
    }

    /// `0.5 (1 + tanh u) = sigmoid(2 u)`
    private static void geluTanh(float[] x, int n) {
        for (int i = 0; i < n; i += N) {
            FloatVector v = FloatVector.fromArray(F, x, i);
            FloatVector cubic = v.mul(v).mul(v).mul(0.044715f).add(v);
            Exp.timesSigmoid(v, cubic.mul(1.5957691216f)).intoArray(x, i);
        }
    }

    private static void relu(float[] x, int n) {
        for (int i = 0; i < n; i += N) {
            FloatVector v = FloatVector.fromArray(F, x, i);
            v.blend(0f, v.compare(VectorOperators.LT, 0f)).intoArray(x, i);
        }
    }

    private static void sigmoid(float[] x, int n) {
        FloatVector one = FloatVector.broadcast(F, 1f);
        for (int i = 0; i < n; i += N) {
            Exp.timesSigmoid(one, FloatVector.fromArray(F, x, i)).intoArray(x, i);
        }
    }

    private static void reluSquared(float[] x, int n) {
        for (int i = 0; i < n; i += N) {
            FloatVector v = FloatVector.fromArray(F, x, i);
            FloatVector positive = v.blend(0f, v.compare(VectorOperators.LT, 0f));
            positive.mul(positive).intoArray(x, i);
        }
    }

    /// `x (1 - erfc(|z|) / 2)` or `x erfc(|z|) / 2`, `z = x / sqrt 2`; erfc by Numerical Recipes'
    /// Chebyshev fit, whose relative error is below 1.2e-7 everywhere, in F64.
    private static void geluErf(float[] x, int n) {
        int half = Lanes.D.length();
        double[] v = new double[half];
        for (int i = 0; i < n; i += half) {
            for (int j = 0; j < half; j++) {
                v[j] = x[i + j];
            }
            DoubleVector a = DoubleVector.fromArray(Lanes.D, v, 0);
            DoubleVector z = a.abs().mul(0.7071067811865476);
            DoubleVector t = DoubleVector.broadcast(Lanes.D, 1.0).div(z.mul(0.5).add(1.0));
            DoubleVector p = DoubleVector.broadcast(Lanes.D, 0.17087277);
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, -0.82215223));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, 1.48851587));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, -1.13520398));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, 0.27886807));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, -0.18628806));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, 0.09678418));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, 0.37409196));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, 1.00002368));
            p = p.fma(t, DoubleVector.broadcast(Lanes.D, -1.26551223));
            DoubleVector halfErfc = t.mul(Exp.exp(p.sub(z.mul(z)))).mul(0.5);
            DoubleVector phi =
                    halfErfc.blend(
                            DoubleVector.broadcast(Lanes.D, 1.0).sub(halfErfc),
                            a.compare(VectorOperators.GE, 0.0));
            a.mul(phi).intoArray(v, 0);
            for (int j = 0; j < half; j++) {
                x[i + j] = (float) v[j];
            }
        }
    }
}
