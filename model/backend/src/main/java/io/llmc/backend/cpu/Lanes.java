// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// The widest vectors of this CPU, and the way between tensors and `float[]` in every float type.
///
/// Kernels work on arrays: a segment's access checks cost more than a copy that stays in the first
/// cache, and an array can be padded to whole vectors, so that no loop has a tail with other
/// arithmetic.
final class Lanes {
    static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    static final VectorSpecies<Double> D = DoubleVector.SPECIES_PREFERRED;

    /// Floats in a vector: a power of two.
    static final int N = F.length();

    static final ValueLayout.OfFloat F32 =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt I32 =
            ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfShort I16 =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfDouble F64 =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// All of memory, by its addresses. A load from here has the fewest checks, which a kernel of
    /// packed codes spends a fifth of its time on: for loops over native memory that the caller
    /// holds and has measured.
    static final MemorySegment MEMORY = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

    /// Floats from which on a call of the runtime's copy costs less than it saves.
    private static final int BULK = 512;

    private static final VectorSpecies<Short> HALF =
            VectorSpecies.of(short.class, VectorShape.forBitSize(F.vectorBitSize() / 2));

    /// As many octets as there are floats in a vector; null where no vector is so short.
    static final VectorSpecies<Byte> OCTETS =
            N < 8
                    ? null
                    : VectorSpecies.of(
                            byte.class, VectorShape.forBitSize(F.vectorBitSize() / Float.BYTES));

    private Lanes() {}

    /// `n` rounded up to whole vectors.
    static int padded(long n) {
        return Math.toIntExact((n + N - 1) & -N);
    }

    /// `dst[at, at+n)` = elements `[from, from+n)` of a tensor's bytes.
    ///
    /// A mapped file is only ever copied from: where it became shorter, a copy is an error, and a
    /// vector that is loaded from it is the end of the process.
    static void read(float[] dst, int at, MemorySegment src, DType type, long from, int n) {
        if (src.isMapped() && type != DType.F32) {
            short[] copy = new short[Math.min(n, BULK)];
            for (int i = 0; i < n; i += BULK) {
                int some = Math.min(BULK, n - i);
                MemorySegment.copy(src, I16, 2 * (from + i), copy, 0, some);
                if (type == DType.BF16) {
                    Loops.widen(dst, at + i, copy, some);
                } else {
                    Loops.fromHalf(dst, at + i, copy, some);
                }
            }
            return;
        }
        switch (type) {
            case F32 -> {
                if (n >= BULK || src.isMapped()) {
                    MemorySegment.copy(src, F32, 4 * from, dst, at, n);
                    return;
                }
                int i = 0;
                for (; i <= n - N; i += N) {
                    FloatVector.fromMemorySegment(F, src, 4 * (from + i), ByteOrder.LITTLE_ENDIAN)
                            .intoArray(dst, at + i);
                }
                for (; i < n; i++) {
                    dst[at + i] = src.get(F32, 4 * (from + i));
                }
            }
            case BF16 -> {
                int i = 0;
                for (; i <= n - N; i += N) {
                    widen(shorts(src, from + i)).intoArray(dst, at + i);
                }
                for (; i < n; i++) {
                    dst[at + i] = Float.intBitsToFloat(src.get(I16, 2 * (from + i)) << 16);
                }
            }
            case F16 -> {
                int i = 0;
                for (; i <= n - N; i += N) {
                    fromHalf(shorts(src, from + i)).intoArray(dst, at + i);
                }
                for (; i < n; i++) {
                    dst[at + i] = Float.float16ToFloat(src.get(I16, 2 * (from + i)));
                }
            }
            default -> throw new IllegalArgumentException("not a float type: " + type);
        }
    }

    /// `dst[0, n)` = BF16 from an address on, at least a vector of them, of memory that is no
    /// mapped file.
    static void widen(float[] dst, long address, int n) {
        for (int i = 0; i < n; i += N) {
            int at = Math.min(i, n - N);
            widen(
                            ints(
                                    ShortVector.fromMemorySegment(
                                            HALF,
                                            MEMORY,
                                            address + 2L * at,
                                            ByteOrder.LITTLE_ENDIAN)))
                    .intoArray(dst, at);
        }
    }

    /// `dst[at, at+N)` = the lowest eight bits of each lane.
    static void octets(IntVector lanes, byte[] dst, int at) {
        if (OCTETS != null) {
            ((ByteVector) lanes.convertShape(VectorOperators.I2B, OCTETS, 0)).intoArray(dst, at);
            return;
        }
        for (int i = 0; i < N; i++) {
            dst[at + i] = (byte) lanes.lane(i);
        }
    }

    /// Elements `[from, from+n)` of a tensor's bytes = `src[at, at+n)`, rounded half to even.
    static void write(MemorySegment dst, DType type, long from, float[] src, int at, int n) {
        switch (type) {
            case F32 -> MemorySegment.copy(src, at, dst, F32, 4 * from, n);
            case BF16, F16 -> {
                short[] copy = new short[Math.min(n, BULK)];
                for (int i = 0; i < n; i += BULK) {
                    int some = Math.min(BULK, n - i);
                    for (int j = 0; j < some; j++) {
                        float x = src[at + i + j];
                        copy[j] =
                                type == DType.F16
                                        ? Float.floatToFloat16(x)
                                        : (short) (Float.floatToRawIntBits(toBf16(x)) >> 16);
                    }
                    MemorySegment.copy(copy, 0, dst, I16, 2 * (from + i), some);
                }
            }
            default -> throw new IllegalArgumentException("not a float type: " + type);
        }
    }

    /// The nearest value of `type`, as a float.
    static float round(float x, DType type) {
        return switch (type) {
            case F32 -> x;
            case BF16 -> toBf16(x);
            case F16 -> Float.float16ToFloat(Float.floatToFloat16(x));
            default -> throw new IllegalArgumentException("not a float type: " + type);
        };
    }

    /// The nearest values of `type`, as floats.
    static FloatVector round(FloatVector x, DType type) {
        return switch (type) {
            case F32 -> x;
            case BF16 -> toBf16(x);
            case F16 -> toHalf(x);
            default -> throw new IllegalArgumentException("not a float type: " + type);
        };
    }

    private static float toBf16(float x) {
        if (Float.isNaN(x)) {
            return x;
        }
        int bits = Float.floatToRawIntBits(x);
        return Float.intBitsToFloat((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000);
    }

    private static FloatVector toBf16(FloatVector x) {
        IntVector bits = x.reinterpretAsInts();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
        FloatVector rounded = bits.add(0x7fff).add(odd).and(0xffff0000).reinterpretAsFloats();
        return rounded.blend(x, x.test(VectorOperators.IS_NAN));
    }

    private static FloatVector toHalf(FloatVector x) {
        IntVector bits = x.reinterpretAsInts();
        IntVector sign = bits.and(0x80000000);
        FloatVector magnitude = bits.and(0x7fffffff).reinterpretAsFloats();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 13).and(1);
        FloatVector normal =
                bits.and(0x7fffffff).add(0xfff).add(odd).and(0xffffe000).reinterpretAsFloats();
        // Between 0.5 and 1 a float's last place is 2^-24, the step of subnormal halves.
        FloatVector subnormal = magnitude.add(0.5f).sub(0.5f);
        FloatVector rounded =
                normal.blend(subnormal, magnitude.compare(VectorOperators.LT, 0x1p-14f));
        rounded =
                rounded.blend(Float.POSITIVE_INFINITY, rounded.compare(VectorOperators.GE, 65536f));
        rounded = rounded.reinterpretAsInts().or(sign).reinterpretAsFloats();
        return rounded.blend(x, x.test(VectorOperators.IS_NAN));
    }

    /// Halves or BF16 as they are, of memory that is no mapped file.
    static IntVector shorts(MemorySegment src, long element) {
        return ints(ShortVector.fromMemorySegment(HALF, src, 2 * element, ByteOrder.LITTLE_ENDIAN));
    }

    private static IntVector ints(ShortVector x) {
        return (IntVector) x.convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0);
    }

    private static FloatVector widen(IntVector bf16) {
        return bf16.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
    }

    private static FloatVector fromHalf(IntVector half) {
        IntVector sign = half.and(0x8000).lanewise(VectorOperators.LSHL, 16);
        // The product gives subnormals their exponent, and is exact.
        FloatVector magnitude =
                half.and(0x7fff)
                        .lanewise(VectorOperators.LSHL, 13)
                        .reinterpretAsFloats()
                        .mul(0x1p112f);
        IntVector bits = magnitude.reinterpretAsInts();
        VectorMask<Integer> special = magnitude.compare(VectorOperators.GE, 65536f).cast(I);
        bits = bits.blend(bits.or(0x7f800000), special);
        return bits.or(sign).reinterpretAsFloats();
    }
}
