// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.OptimizerOp;
import jdk.incubator.vector.FloatVector;

/// One step of Adam with decoupled weight decay, over arrays.
///
/// @param first what undoes the bias of m towards its zero beginning
/// @param second the same of v
record AdamUpdate(OptimizerOp.AdamSpec spec, float first, float second) {
    AdamUpdate(OptimizerOp.AdamSpec spec) {
        this(spec, correction(spec.beta1(), spec.step()), correction(spec.beta2(), spec.step()));
    }

    private static float correction(float beta, int step) {
        return (float) (1 / (1 - StrictMath.pow(beta, step)));
    }

    /// Changes w, m and v.
    ///
    /// @param n whole vectors
    void run(float[] w, float[] m, float[] v, float[] g, int n) {
        for (int i = 0; i < n; i += N) {
            FloatVector grad = at(g, i).mul(spec.gradientScale());
            FloatVector mean = at(m, i).mul(spec.beta1()).add(grad.mul(1 - spec.beta1()));
            FloatVector square =
                    at(v, i).mul(spec.beta2()).add(grad.mul(grad).mul(1 - spec.beta2()));
            FloatVector step =
                    mean.mul(first)
                            .div(square.mul(second).sqrt().add(spec.eps()))
                            .add(at(w, i).mul(spec.decay()));
            mean.intoArray(m, i);
            square.intoArray(v, i);
            at(w, i).sub(step.mul(spec.rate())).intoArray(w, i);
        }
    }

    private static FloatVector at(float[] x, int i) {
        return FloatVector.fromArray(F, x, i);
    }
}
