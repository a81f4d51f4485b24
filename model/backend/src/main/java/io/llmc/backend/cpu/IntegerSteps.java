// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Where activations go that become integers: x is about `step * (q - zero)`. Divisions are IEEE's:
/// a reciprocal would move values at ties.
record IntegerSteps(float step, float zero, Codes.Ints codes) {
    /// Between 2^23 and 2^24 a float's last place is 1.
    private static final float INTEGERS = 12582912f;

    /// Of the tile `x[from, to)`.
    static IntegerSteps of(
            float[] x,
            int from,
            int to,
            ActivationScheme scheme,
            Codes.Ints codes,
            RoundingKernels.Given given) {
        if (!scheme.dynamic()) {
            return new IntegerSteps(given.scale(), given.zero(), codes);
        }
        if (codes.symmetric()) {
            float largest = RoundingKernels.largest(x, from, to);
            return new IntegerSteps(scheme.grid().scale(largest, DType.F32, 1), 0, codes);
        }
        float low = low(x, from, to);
        float step = (high(x, from, to) - low) / codes.maxCode();
        step = step == 0 ? 1 : step;
        return new IntegerSteps(step, codes.nearest(-codes.middleCode() - low / step), codes);
    }

    /// `out[from, to) = step * (q - zero)`, and on to the end of the last vector.
    void round(float[] out, float[] x, int from, int to) {
        for (int i = from; i < to; i += N) {
            integers(FloatVector.fromArray(F, x, i)).sub(zero).mul(step).intoArray(out, i);
        }
    }

    /// The integers of 8 bits themselves, 0 for NaN; both arrays are as long as whole vectors.
    ///
    /// @return whether none was NaN
    boolean encode(byte[] out, float[] x, int n) {
        VectorMask<Float> lost = F.maskAll(false);
        for (int i = 0; i < n; i += N) {
            FloatVector q = integers(FloatVector.fromArray(F, x, i));
            if (i <= n - N) {
                lost = lost.or(q.test(VectorOperators.IS_NAN));
            } else {
                lost = lost.or(q.test(VectorOperators.IS_NAN).and(F.indexInRange(i, n)));
            }
            store(out, i, (IntVector) q.convert(VectorOperators.F2I, 0));
        }
        return !lost.anyTrue();
    }

    private static void store(byte[] out, int at, IntVector q) {
        if (Lanes.OCTETS != null) {
            ((ByteVector) q.convertShape(VectorOperators.I2B, Lanes.OCTETS, 0)).intoArray(out, at);
            return;
        }
        for (int i = 0; i < I.length(); i++) {
            out[at + i] = (byte) q.lane(i);
        }
    }

    /// The nearest integers that have a code, half to even; NaN stays.
    private FloatVector integers(FloatVector x) {
        float least = -codes.middleCode();
        float most = codes.middleCode() - 1;
        FloatVector q = x.div(step).add(zero);
        q = q.blend(least, q.compare(VectorOperators.LT, least));
        q = q.blend(most, q.compare(VectorOperators.GT, most));
        return q.add(INTEGERS).sub(INTEGERS);
    }

    /// The least of `x[from, to)` and 0; NaN where there is one.
    private static float low(float[] x, int from, int to) {
        int i = from;
        FloatVector least = FloatVector.zero(F);
        for (; i <= to - N; i += N) {
            least = least.min(FloatVector.fromArray(F, x, i));
        }
        float low = least.reduceLanes(VectorOperators.MIN);
        for (; i < to; i++) {
            low = Math.min(low, x[i]);
        }
        return low;
    }

    private static float high(float[] x, int from, int to) {
        int i = from;
        FloatVector most = FloatVector.zero(F);
        for (; i <= to - N; i += N) {
            most = most.max(FloatVector.fromArray(F, x, i));
        }
        float high = most.reduceLanes(VectorOperators.MAX);
        for (; i < to; i++) {
            high = Math.max(high, x[i]);
        }
        return high;
    }
}
