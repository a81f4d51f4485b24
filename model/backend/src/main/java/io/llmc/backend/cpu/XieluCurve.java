// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// xIELU with its numbers read: `square x^2 + beta x` for positive x, else `bend (e^min(x, eps) - 1
/// - x) + beta x`.
record XieluCurve(float square, float bend, float beta, float eps) {
    static XieluCurve of(ForwardOp.Curve curve) {
        double beta = number(curve.beta());
        return new XieluCurve(
                (float) softplus(number(curve.positive())),
                (float) (beta + softplus(number(curve.negative()))),
                (float) beta,
                number(curve.eps()));
    }

    private static float number(Tensor t) {
        float[] one = new float[N];
        Lanes.read(one, 0, t.bytes(), t.dtype(), 0, 1);
        return one[0];
    }

    private static double softplus(double x) {
        return Math.max(x, 0) + StrictMath.log1p(StrictMath.exp(-Math.abs(x)));
    }

    FloatVector value(FloatVector x) {
        FloatVector positive = x.mul(x).mul(square);
        FloatVector others = Exp.exp(x.min(eps)).sub(1f).sub(x).mul(bend);
        return x.mul(beta).add(others.blend(positive, x.compare(VectorOperators.GT, 0f)));
    }

    FloatVector slope(FloatVector x) {
        // Above eps the exponential stands still.
        VectorMask<Float> still = x.compare(VectorOperators.GE, eps);
        FloatVector others =
                Exp.exp(x).blend(FloatVector.zero(F), still).sub(1f).mul(bend).add(beta);
        FloatVector positive = x.mul(2 * square).add(beta);
        return others.blend(positive, x.compare(VectorOperators.GT, 0f));
    }
}
