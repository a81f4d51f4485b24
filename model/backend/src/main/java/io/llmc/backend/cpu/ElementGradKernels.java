// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.GradientOp;
import io.llmc.backend.OptimizerOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Gradients of everything that works element by element, and AdamW, which does too.
final class ElementGradKernels {
    private static final int CHUNK = 1024;
    private static final int TILE = 8 * CHUNK;

    private final Workers workers;

    ElementGradKernels(Workers workers) {
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

    /// `sum += factor x`
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

    /// `dx += dout (1 - (out / cap)^2)`, from the output: no tanh again.
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

    void clip(Tensor dx, Tensor dout, Tensor out, float most) {
        forEach(
                1,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector sum = at(a[0], i);
                        sum.add(at(a[1], i), at(a[2], i).abs().compare(VectorOperators.LT, most))
                                .intoArray(a[0], i);
                    }
                },
                dx,
                dout,
                out);
    }

    /// `dx += dout f'(x)`
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

    /// `out = f(gate) up`: `dgate += dout up f'(gate)`, `dup += dout f(gate)`.
    void gated(
            Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up, Activation activation) {
        forEach(
                2,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector g = at(a[3], i);
                        FloatVector d = at(a[2], i);
                        // gate and up are arrays 3 and 4, their gradients 0 and 1.
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

    /// `g s(alpha g) (u + shift)` of bounded g and u; nothing flows beyond a bound.
    void clampedSwiGlu(GradientOp.AccumulateClampedSwiGluGrad op) {
        ForwardOp.Clamp clamp = op.clamp();
        FloatVector one = FloatVector.broadcast(F, 1f);
        forEach(
                2,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        FloatVector gate = at(a[3], i);
                        FloatVector up = at(a[4], i);
                        FloatVector g = gate.min(clamp.limit());
                        FloatVector u = ElementwiseKernels.within(up, clamp.limit());
                        FloatVector t = g.mul(clamp.alpha());
                        FloatVector s = Exp.timesSigmoid(one, t);
                        FloatVector slope = s.mul(t.fma(one.sub(s), one));
                        slope = slope.blend(0f, gate.compare(VectorOperators.GT, clamp.limit()));
                        FloatVector d = at(a[2], i);
                        d.mul(u.add(clamp.shift())).fma(slope, at(a[0], i)).intoArray(a[0], i);
                        FloatVector value = Exp.timesSigmoid(g, t);
                        value =
                                value.blend(
                                        0f, up.abs().compare(VectorOperators.GT, clamp.limit()));
                        d.fma(value, at(a[1], i)).intoArray(a[1], i);
                    }
                },
                op.dgate(),
                op.dup(),
                op.dout(),
                op.gate(),
                op.up());
    }

    /// `dx += dout f'(x)`
    void xielu(GradientOp.AccumulateXieluGrad op) {
        XieluCurve curve = XieluCurve.of(op.curve());
        forEach(
                1,
                (a, n) -> {
                    for (int i = 0; i < n; i += N) {
                        at(a[1], i).fma(curve.slope(at(a[2], i)), at(a[0], i)).intoArray(a[0], i);
                    }
                },
                op.dx(),
                op.dout(),
                op.x());
    }

    /// The activations as the forward kernels have them, to the bit.
    private static FloatVector value(FloatVector x, Activation activation) {
        return switch (activation) {
            case SILU -> Exp.timesSigmoid(x, x);
            case GELU_TANH -> Exp.timesSigmoid(x, inner(x).mul(2f));
            case GELU_ERF -> lanewise(x, v -> v * phi(v));
            case RELU -> x.blend(0f, x.compare(VectorOperators.LT, 0f));
            case SIGMOID -> Exp.timesSigmoid(FloatVector.broadcast(F, 1f), x);
            case RELU_SQUARED -> {
                FloatVector positive = x.blend(0f, x.compare(VectorOperators.LT, 0f));
                yield positive.mul(positive);
            }
        };
    }

    /// The derivative of an activation.
    private static FloatVector slope(FloatVector x, Activation activation) {
        FloatVector one = FloatVector.broadcast(F, 1f);
        return switch (activation) {
            case SILU -> {
                // s + x s (1 - s)
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
            case SIGMOID -> {
                FloatVector s = Exp.timesSigmoid(one, x);
                yield s.mul(one.sub(s));
            }
            case RELU_SQUARED -> x.blend(0f, x.compare(VectorOperators.LT, 0f)).mul(2f);
        };
    }

    /// `sqrt(2/pi) (x + 0.044715 x^3)`
    private static FloatVector inner(FloatVector x) {
        return x.mul(x).mul(x).mul(0.044715f).add(x).mul(0.7978845608f);
    }

    private interface Scalar {
        double of(double x);
    }

    /// One by one, in F64, where there is no polynomial of ours.
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
        // erfc of |x| / sqrt 2, halved: the tail beyond |x|.
        double half = t * StrictMath.exp(p - z * z) / 2;
        return x >= 0 ? 1 - half : half;
    }

    /// AdamW's step changes weights and both moments.
    void adamW(Tensor w, Tensor m, Tensor v, Tensor g, OptimizerOp.AdamSpec spec) {
        AdamUpdate update = new AdamUpdate(spec);
        forEach(3, (a, n) -> update.run(a[0], a[1], a[2], a[3], n), w, m, v, g);
    }
}
