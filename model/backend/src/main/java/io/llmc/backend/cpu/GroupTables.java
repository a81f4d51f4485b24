// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// What the codes of groups stand for, `round((code - zero) * scale)`.
///
/// A value is the scale's power of two times one that has been rounded: there are as many of those
/// as mantissas and distances from the zero point.
final class GroupTables {
    /// Distances from the zero point: -15 to 15, and one that fills up.
    private static final int DISTANCES = 32;

    private static final int MIDDLE = 15;

    private final DType type;
    private final MemorySegment scales;
    private final MemorySegment zeros;
    private final float[] values;

    /// Bits of the least scale in F16 with which a value may be beyond what F16 holds.
    private final int largest;

    GroupTables(Weight.Grouped w) {
        type = w.scales().dtype();
        scales = w.scales().bytes();
        zeros = w.zeros().bytes();
        largest = (31 - w.grid().codes().bits()) << 10;
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

    float[] values() {
        return values;
    }

    /// The bits of a group's scale.
    int scale(long group) {
        return type == DType.F32
                ? scales.get(Lanes.I32, 4 * group)
                : scales.get(Lanes.I16, 2 * group);
    }

    /// Where in [#values] what code 0 stands for begins, but for [#factor]. Scales in F32 have no
    /// rounding: their factor is all of them.
    int from(int scale, long group) {
        int zero = zeros.get(ValueLayout.JAVA_BYTE, group);
        int mantissa = type == DType.BF16 ? scale & 0x7f : type == DType.F16 ? scale & 0x3ff : 0;
        return mantissa * DISTANCES + MIDDLE - zero;
    }

    /// The power of two of a scale, with its sign.
    float factor(int scale) {
        int bits =
                switch (type) {
                    case BF16 -> (scale & 0xff80) << 16;
                    case F16 ->
                            (scale & 0x8000) << 16 | ((scale & 0x7c00) << 13) + (127 - 15 << 23);
                    default -> scale;
                };
        return Float.intBitsToFloat(bits);
    }

    /// A scale itself.
    float value(int scale) {
        return switch (type) {
            case BF16 -> Float.intBitsToFloat(scale << 16);
            case F16 -> Float.float16ToFloat((short) scale);
            default -> Float.intBitsToFloat(scale);
        };
    }

    /// Whether values of this scale cannot be had so: they may be subnormal, or not finite.
    boolean irregular(int scale) {
        int magnitude = scale & 0x7fff;
        return switch (type) {
            case BF16 -> magnitude - 0x80 >= 0x7f80 - 0x80 || magnitude < 0x80;
            case F16 -> magnitude < 1 << 10 || magnitude >= largest;
            default -> false;
        };
    }
}
