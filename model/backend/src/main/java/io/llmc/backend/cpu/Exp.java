// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;

import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;

/// Exponentials as polynomials: the same bits on every CPU, which `VectorOperators.EXP` does not
/// promise.
final class Exp {
    private static final float LOG2E = 1.44269504f;
    private static final float LN2_HIGH = 0.693359375f;
    private static final float LN2_LOW = -2.12194440e-4f;

    /// Adding it leaves the nearest integer in the low bits of the mantissa.
    private static final float ROUND = 12582912f;

    private static final double ROUND_F64 = 6755399441055744.0;
    private static final double LN2_HIGH_F64 = 6.93147180369123816490e-01;
    private static final double LN2_LOW_F64 = 1.90821492927058770002e-10;

    private Exp() {}

    /// `e^x` within an ulp or two; 0 and infinity where it under- or overflows, NaN for NaN.
    static FloatVector exp(FloatVector x) {
        FloatVector y = x.blend(-104f, x.compare(VectorOperators.LT, -104f));
        y = y.blend(89f, y.compare(VectorOperators.GT, 89f));
        FloatVector shifted =
                y.fma(FloatVector.broadcast(F, LOG2E), FloatVector.broadcast(F, ROUND));
        FloatVector n = shifted.sub(ROUND);
        FloatVector r = n.fma(FloatVector.broadcast(F, -LN2_HIGH), y);
        r = n.fma(FloatVector.broadcast(F, -LN2_LOW), r);
        FloatVector p = FloatVector.broadcast(F, 1.9875691500e-4f);
        p = p.fma(r, FloatVector.broadcast(F, 1.3981999507e-3f));
        p = p.fma(r, FloatVector.broadcast(F, 8.3334519073e-3f));
        p = p.fma(r, FloatVector.broadcast(F, 4.1665795894e-2f));
        p = p.fma(r, FloatVector.broadcast(F, 1.6666665459e-1f));
        p = p.fma(r, FloatVector.broadcast(F, 5.0000001201e-1f));
        p = p.mul(r).fma(r, r).add(1f);
        // Two factors, because 2^n alone leaves the range before the result does.
        var k = shifted.reinterpretAsInts().sub(Float.floatToRawIntBits(ROUND));
        var half = k.lanewise(VectorOperators.ASHR, 1);
        var first = half.add(127).lanewise(VectorOperators.LSHL, 23).reinterpretAsFloats();
        var second = k.sub(half).add(127).lanewise(VectorOperators.LSHL, 23).reinterpretAsFloats();
        return p.mul(first).mul(second);
    }

    /// `tanh x`
    static FloatVector tanh(FloatVector x) {
        FloatVector z = x.mul(x);
        FloatVector p = FloatVector.broadcast(F, -5.70498872745e-3f);
        p = p.fma(z, FloatVector.broadcast(F, 2.06390887954e-2f));
        p = p.fma(z, FloatVector.broadcast(F, -5.37397155531e-2f));
        p = p.fma(z, FloatVector.broadcast(F, 1.33314422036e-1f));
        p = p.fma(z, FloatVector.broadcast(F, -3.33332819422e-1f));
        FloatVector near = p.mul(z).fma(x, x);
        FloatVector magnitude = x.abs();
        FloatVector e = exp(magnitude.add(magnitude));
        FloatVector far =
                FloatVector.broadcast(F, 1f).sub(FloatVector.broadcast(F, 2f).div(e.add(1f)));
        far =
                far.reinterpretAsInts()
                        .or(x.reinterpretAsInts().and(0x80000000))
                        .reinterpretAsFloats();
        return far.blend(near, magnitude.compare(VectorOperators.LT, 0.625f));
    }

    /// `x sigmoid(s)`
    static FloatVector timesSigmoid(FloatVector x, FloatVector s) {
        return x.div(exp(s.neg()).add(1f));
    }

    /// `ln(1 + e^x)` within a few ulps.
    static FloatVector softplus(FloatVector x) {
        // ln(1 + y) = 2 artanh(y / (2 + y)), where y is at most 1.
        FloatVector y = exp(x.abs().neg());
        FloatVector s = y.div(y.add(2f));
        FloatVector z = s.mul(s);
        FloatVector p = FloatVector.broadcast(F, 1f / 13);
        p = p.fma(z, FloatVector.broadcast(F, 1f / 11));
        p = p.fma(z, FloatVector.broadcast(F, 1f / 9));
        p = p.fma(z, FloatVector.broadcast(F, 1f / 7));
        p = p.fma(z, FloatVector.broadcast(F, 1f / 5));
        p = p.fma(z, FloatVector.broadcast(F, 1f / 3));
        p = p.mul(z).fma(s, s);
        return p.add(p).add(x.max(0f));
    }

    /// `e^x` in double precision, for `x <= 700`; `e^-708`, which is nothing, below.
    static DoubleVector exp(DoubleVector x) {
        DoubleVector y = x.blend(-708.0, x.compare(VectorOperators.LT, -708.0));
        DoubleVector shifted = y.mul(1.4426950408889634).add(ROUND_F64);
        DoubleVector n = shifted.sub(ROUND_F64);
        DoubleVector r = n.fma(DoubleVector.broadcast(Lanes.D, -LN2_HIGH_F64), y);
        r = n.fma(DoubleVector.broadcast(Lanes.D, -LN2_LOW_F64), r);
        // Taylor, to the 12th power: |r| < 0.35, so what is left out is below 2e-16.
        DoubleVector p = DoubleVector.broadcast(Lanes.D, 1.0 / 479001600);
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 39916800));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 3628800));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 362880));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 40320));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 5040));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 720));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 120));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 24));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 1.0 / 6));
        p = p.fma(r, DoubleVector.broadcast(Lanes.D, 0.5));
        p = p.mul(r).fma(r, r).add(1.0);
        // The exponent field of 2^n: n stands in the low bits of the shifted number.
        LongVector bits = shifted.reinterpretAsLongs().lanewise(VectorOperators.LSHL, 52);
        return p.reinterpretAsLongs().add(bits).reinterpretAsDoubles();
    }
}
