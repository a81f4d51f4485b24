// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// The small floats of [io.llmc.tensor.Codes.Floats], a vector at a time.
final class E4m3 {
    private static final float LARGEST = 448;

    private E4m3() {}

    /// What codes stand for, as many from `at` on as there are floats in a vector.
    static FloatVector values(byte[] codes, int at) {
        IntVector code =
                (IntVector)
                        ByteVector.fromArray(Lanes.OCTETS, codes, at)
                                .convertShape(VectorOperators.B2I, I, 0);
        IntVector magnitude = code.and(0x7f);
        // The exponent's bias goes from 7 to 127. Numbers below 2^-6 are multiples of 2^-9, and are
        // made as such: arithmetic on subnormal floats is slow.
        FloatVector normal =
                magnitude
                        .lanewise(VectorOperators.LSHL, 20)
                        .add(127 - 7 << 23)
                        .reinterpretAsFloats();
        FloatVector small = ((FloatVector) magnitude.convert(VectorOperators.I2F, 0)).mul(0x1p-9f);
        FloatVector value =
                normal.blend(small, magnitude.compare(VectorOperators.LT, 8).cast(F))
                        .blend(Float.NaN, magnitude.compare(VectorOperators.EQ, 0x7f).cast(F));
        return value.reinterpretAsInts().or(code.and(0x80000000)).reinterpretAsFloats();
    }

    /// The nearest numbers that have a code, half to even; beyond 448 it is 448, NaN stays.
    static FloatVector nearest(FloatVector x) {
        IntVector sign = x.reinterpretAsInts().and(0x80000000);
        FloatVector magnitude = x.abs();
        magnitude = magnitude.blend(LARGEST, magnitude.compare(VectorOperators.GT, LARGEST));
        // Of 23 bits of mantissa 3 stay.
        IntVector bits = magnitude.reinterpretAsInts();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 20).and(1);
        FloatVector normal = bits.add(0x7ffff).add(odd).and(0xfff00000).reinterpretAsFloats();
        // Below 2^-6 steps are 2^-9, which is a float's last place between 2^14 and 2^15.
        FloatVector subnormal = magnitude.add(0x1p14f).sub(0x1p14f);
        FloatVector rounded =
                normal.blend(subnormal, magnitude.compare(VectorOperators.LT, 0x1p-6f));
        rounded = rounded.reinterpretAsInts().or(sign).reinterpretAsFloats();
        return rounded.blend(x, x.test(VectorOperators.IS_NAN));
    }

    /// What maps the largest magnitude of `x[from, to)` to 448; 1 where there are only zeros, NaN
    /// where there is one.
    static float scale(float[] x, int from, int to) {
        int i = from;
        FloatVector most = FloatVector.zero(F);
        for (; i <= to - N; i += N) {
            most = most.max(FloatVector.fromArray(F, x, i).abs());
        }
        float largest = most.reduceLanes(VectorOperators.MAX);
        for (; i < to; i++) {
            largest = Math.max(largest, Math.abs(x[i]));
        }
        float scale = largest / LARGEST;
        return scale == 0 ? 1 : scale;
    }
}
