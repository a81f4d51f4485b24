// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.UGE;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.IntVector;

/// What the codes of groups stand for, `round((code - zero) * scale)`.
///
/// A value is the scale's power of two times one that has been rounded: there are as many of those
/// as mantissas and distances from the zero point.
final class GroupTables implements TableDots.Tables {
    /// Distances from the zero point: -15 to 15, and one that fills up.
    private static final int DISTANCES = 32;

    private static final int MIDDLE = 15;

    private final DType type;
    private final MemorySegment scales;
    private final MemorySegment zeros;
    private final float[] values;

    /// Bits of the least scale with which a value is normal, and of the least with which it may not
    /// be finite.
    private final int least;

    private final int most;

    /// Bits of a scale's mantissa, and those that its factor is made of: sign and exponent where
    /// they have a float's places, a half's exponent, all of it.
    private final int mantissa;

    private final int high;
    private final int exponent;
    private final int whole;

    /// From a half's exponent to a float's.
    private final int bias;

    GroupTables(Weight.Grouped w) {
        type = w.scales().dtype();
        scales = w.scales().bytes();
        zeros = w.zeros().bytes();
        boolean half = type == DType.F16;
        boolean brain = type == DType.BF16;
        least = half ? 0x400 : brain ? 0x80 : 0;
        most = half ? 31 - w.grid().codes().bits() << 10 : brain ? 0x7f80 : 0x8000;
        mantissa = half ? 0x3ff : brain ? 0x7f : 0;
        high = half ? 0x8000 : brain ? 0xff80 : 0;
        exponent = half ? 0x7c00 : 0;
        bias = half ? 127 - 15 << 23 : 0;
        whole = half || brain ? 0 : -1;
        values = type == DType.F16 ? Halves.VALUES : Bf16.VALUES;
    }

    /// By mantissa and distance.
    private static final class Bf16 {
        static final float[] VALUES = rounded(128, DType.BF16);
    }

    private static final class Halves {
        static final float[] VALUES = rounded(1024, DType.F16);
    }

    private static float[] rounded(int mantissas, DType type) {
        float[] values = new float[mantissas * DISTANCES];
        for (int i = 0; i < values.length; i++) {
            float mantissa = 1 + (float) (i / DISTANCES) / mantissas;
            values[i] = Lanes.round(mantissa * (i % DISTANCES - MIDDLE), type);
        }
        return values;
    }

    @Override
    public float[] values() {
        return values;
    }

    /// The bits of a group's scale.
    int scale(long group) {
        return type == DType.F32
                ? scales.get(Lanes.I32, 4 * group)
                : scales.get(Lanes.I16, 2 * group);
    }

    /// Factors are the scale's power of two with its sign, or all of a scale in F32, which is not
    /// rounded. Some values may be subnormal, or not finite: then they cannot be had so.
    @Override
    public boolean prepare(
            int[] from, float[] factors, int at, long first, int count, Scratch scratch) {
        int size = type.bits() / 8;
        long padded = Lanes.padded(count);
        // Out of a file that may be mapped, with usual scales behind them.
        MemorySegment copy = scratch.bytes(0, (size + 1) * padded);
        copy.asSlice(0, (size + 1) * padded).fill((byte) 0x3c);
        MemorySegment.copy(scales, size * first, copy, 0, (long) size * count);
        MemorySegment.copy(zeros, first, copy, size * padded, count);
        boolean irregular = false;
        for (int g = 0; g < count; g += N) {
            IntVector scale =
                    size == 4
                            ? IntVector.fromMemorySegment(I, copy, 4L * g, LITTLE_ENDIAN)
                            : Lanes.shorts(copy, g);
            IntVector zero =
                    (IntVector)
                            ByteVector.fromMemorySegment(
                                            Lanes.OCTETS, copy, size * padded + g, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0);
            irregular |= scale.and(0x7fff).sub(least).compare(UGE, most - least).anyTrue();
            scale.and(mantissa).mul(DISTANCES).add(MIDDLE).sub(zero).intoArray(from, at + g);
            scale.and(high)
                    .lanewise(LSHL, 16)
                    .or(scale.and(exponent).lanewise(LSHL, 13).add(bias))
                    .or(scale.and(whole))
                    .reinterpretAsFloats()
                    .intoArray(factors, at + g);
        }
        return !irregular;
    }

    /// A scale itself.
    float value(int scale) {
        return switch (type) {
            case BF16 -> Float.intBitsToFloat(scale << 16);
            case F16 -> Float.float16ToFloat((short) scale);
            default -> Float.intBitsToFloat(scale);
        };
    }

    /// Whether values of this scale may be subnormal, or not finite.
    boolean irregular(int scale) {
        int magnitude = scale & 0x7fff;
        return magnitude < least || magnitude >= most;
    }
}
