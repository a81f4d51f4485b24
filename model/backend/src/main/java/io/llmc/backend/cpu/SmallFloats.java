// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// [Codes.Floats] a vector at a time. A record, since the compiler takes its numbers for constants.
///
/// @param bits of a code
/// @param mantissa bits of it
/// @param bias of its exponent; numbers below `2^(1 - bias)` are multiples of one step
/// @param largest what larger ones become
/// @param nan the magnitude that stands for NaN; none of that size where there is none
record SmallFloats(int bits, int mantissa, int bias, float largest, int nan) {
    private static final SmallFloats E4M3 = new SmallFloats(8, 3, 7, 448, 0x7f);
    private static final SmallFloats E2M1 = new SmallFloats(4, 1, 1, 6, 0x100);

    static SmallFloats of(Codes.Floats codes) {
        return codes.type() == DType.F4 ? E2M1 : E4M3;
    }

    /// What codes stand for, one a byte, as many from `at` on as there are floats in a vector.
    FloatVector values(byte[] codes, int at) {
        return values(
                (IntVector)
                        ByteVector.fromArray(Lanes.OCTETS, codes, at)
                                .convertShape(VectorOperators.B2I, I, 0));
    }

    /// What codes stand for; bits above theirs are ignored.
    FloatVector values(IntVector codes) {
        IntVector magnitude = codes.and((1 << bits - 1) - 1);
        // The exponent's bias becomes 127. Numbers below the normal ones are multiples of a step,
        // and are made as such: arithmetic on subnormal floats is slow.
        FloatVector normal =
                magnitude
                        .lanewise(VectorOperators.LSHL, 23 - mantissa)
                        .add(127 - bias << 23)
                        .reinterpretAsFloats();
        FloatVector small =
                ((FloatVector) magnitude.convert(VectorOperators.I2F, 0))
                        .mul(power(1 - bias - mantissa));
        FloatVector value =
                normal.blend(small, magnitude.compare(VectorOperators.LT, 1 << mantissa).cast(F))
                        .blend(Float.NaN, magnitude.compare(VectorOperators.EQ, nan).cast(F));
        IntVector sign = codes.lanewise(VectorOperators.LSHL, 32 - bits).and(0x80000000);
        return value.reinterpretAsInts().or(sign).reinterpretAsFloats();
    }

    /// The nearest numbers that have a code, half to even; beyond the largest it is the largest,
    /// NaN stays.
    FloatVector nearest(FloatVector x) {
        IntVector sign = x.reinterpretAsInts().and(0x80000000);
        FloatVector magnitude = x.abs();
        magnitude = magnitude.blend(largest, magnitude.compare(VectorOperators.GT, largest));
        int dropped = 23 - mantissa;
        IntVector pattern = magnitude.reinterpretAsInts();
        IntVector odd = pattern.lanewise(VectorOperators.LSHR, dropped).and(1);
        FloatVector normal =
                pattern.add((1 << dropped - 1) - 1)
                        .add(odd)
                        .and(-1 << dropped)
                        .reinterpretAsFloats();
        // Below the normal numbers a step is the last place of a float that is 2^23 of them.
        float anchor = power(1 - bias - mantissa + 23);
        FloatVector subnormal = magnitude.add(anchor).sub(anchor);
        FloatVector rounded =
                normal.blend(subnormal, magnitude.compare(VectorOperators.LT, power(1 - bias)));
        rounded = rounded.reinterpretAsInts().or(sign).reinterpretAsFloats();
        return rounded.blend(x, x.test(VectorOperators.IS_NAN));
    }

    /// The codes of numbers that have one.
    IntVector codes(FloatVector x) {
        IntVector pattern = x.reinterpretAsInts();
        IntVector magnitude = pattern.and(0x7fffffff);
        IntVector normal =
                magnitude.sub(127 - bias << 23).lanewise(VectorOperators.LSHR, 23 - mantissa);
        // Such a number is a whole number of steps, and the anchor's last place is one.
        float anchor = power(1 - bias - mantissa + 23);
        IntVector small =
                x.abs().add(anchor).reinterpretAsInts().sub(Float.floatToRawIntBits(anchor));
        IntVector code =
                normal.blend(small, magnitude.compare(VectorOperators.LT, 128 - bias << 23));
        code = code.blend(nan & 0x7f, magnitude.compare(VectorOperators.GT, 0x7f800000));
        IntVector sign = pattern.lanewise(VectorOperators.LSHR, 32 - bits).and(1 << bits - 1);
        return code.or(sign);
    }

    private static float power(int exponent) {
        return Float.intBitsToFloat(127 + exponent << 23);
    }
}
