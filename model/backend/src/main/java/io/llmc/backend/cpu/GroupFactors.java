// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.UGE;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// What makes `round(d * scale)` of a code's distance `d` from its zero point by two products: `d *
/// a + d * b`, the first of them rounded, with `a = scale * (2^s + 1)` and `b = scale * -2^s`,
/// where `s` are the bits that rounding drops of a float.
///
/// The first product has the value's bits twice, `s` places apart, so that rounding it to a float
/// rounds the lower ones to the type, half to even; the sum takes the upper ones off, exactly. This
/// is half of Veltkamp's split (Dekker, 1971). It needs a mantissa of `d * scale` that is not
/// within `2^-s` of the next power of two, which [#fits] knows of; the scale has few bits, so that
/// `a` is exact.
final class GroupFactors {
    private final DType type;
    private final MemorySegment scales;
    private final MemorySegment zeros;

    /// Of a scale's bits: those of the smallest with which a value is normal, and of the smallest
    /// with which the first product may not be finite.
    private final int least;

    private final int most;

    private final float first;
    private final float second;

    GroupFactors(Weight.Grouped w) {
        type = w.scales().dtype();
        scales = w.scales().bytes();
        zeros = w.zeros().bytes();
        int bits = w.grid().codes().bits();
        switch (type) {
            case BF16 -> {
                least = 0x80;
                most = 127 + 127 - 16 - bits << 7;
                first = 0x1p16f + 1;
                second = -0x1p16f;
            }
            case F16 -> {
                least = 0x400;
                most = 31 - bits << 10;
                first = 0x1p13f + 1;
                second = -0x1p13f;
            }
            default -> {
                least = 0;
                most = 127 + 127 - bits << 23;
                first = 1;
                second = 0;
            }
        }
    }

    /// Products of eight bits with a scale in F16 can come too near to a power of two.
    static boolean fits(Weight.Grouped w) {
        return w.scales().dtype() != DType.F16 || w.grid().codes().bits() <= 4;
    }

    /// Of groups `[from, from + count)`; all three as long as [Lanes#padded] says.
    ///
    /// @param a the first factors
    /// @param b the second ones
    /// @param z zero points
    /// @return whether all values can be had so
    boolean prepare(float[] a, float[] b, float[] z, long from, int count, Scratch scratch) {
        int size = type.bits() / 8;
        long padded = Lanes.padded(count);
        // Out of a file that may be mapped, with usual scales behind them.
        MemorySegment copy = scratch.bytes(0, (size + 1) * padded);
        copy.asSlice(size * (long) count, (size + 1) * padded - size * (long) count)
                .fill((byte) 0x3c);
        MemorySegment.copy(scales, size * from, copy, 0, (long) size * count);
        MemorySegment.copy(zeros, from, copy, size * padded, count);
        boolean irregular = false;
        int magnitude = size == 4 ? 0x7fffffff : 0x7fff;
        for (int g = 0; g < count; g += N) {
            IntVector bits =
                    size == 4
                            ? IntVector.fromMemorySegment(I, copy, 4L * g, LITTLE_ENDIAN)
                            : Lanes.shorts(copy, g);
            irregular |= bits.and(magnitude).sub(least).compare(UGE, most - least).anyTrue();
            FloatVector scale =
                    switch (type) {
                        case BF16 -> bits.lanewise(LSHL, 16).reinterpretAsFloats();
                        case F16 ->
                                bits.and(0x7fff)
                                        .lanewise(LSHL, 13)
                                        .add(127 - 15 << 23)
                                        .or(bits.and(0x8000).lanewise(LSHL, 16))
                                        .reinterpretAsFloats();
                        default -> bits.reinterpretAsFloats();
                    };
            scale.mul(first).intoArray(a, g);
            scale.mul(second).intoArray(b, g);
            ((FloatVector)
                            ((IntVector)
                                            ByteVector.fromMemorySegment(
                                                            Lanes.OCTETS,
                                                            copy,
                                                            size * padded + g,
                                                            LITTLE_ENDIAN)
                                                    .convertShape(ZERO_EXTEND_B2I, I, 0))
                                    .convert(I2F, 0))
                    .intoArray(z, g);
        }
        return !irregular;
    }
}
