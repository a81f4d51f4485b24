// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// What numbers the scales of a grid may be.
public enum ScaleKind {
    /// F32, F16 or BF16: in which of them is for a layout to say.
    FLOAT,

    /// Powers of two, a byte e each for `2^(e - 127)`; 255 is NaN (E8M0: OCP Microscaling Formats
    /// v1.0, 2023, section 5.4.1).
    POWER,

    /// F8_E4M3 over one F32 for the whole matrix, which divides them (NVFP4).
    NESTED;

    /// A nested scale that is too small for F8_E4M3, as compressed-tensors has it.
    public static final float NESTED_ZERO = 0.125f;

    /// The byte of the power of two near `largest`, `less` powers lower.
    static int exponent(float largest, int less) {
        // A quarter of the mantissa's range carries into the exponent from 7/4 on.
        int rounded = Float.floatToRawIntBits(largest) + (1 << 21) >>> 23;
        return rounded >= 255 ? 255 : Math.max(0, rounded - less);
    }

    /// What each byte of such scales stands for, but for what divides nested ones.
    ///
    /// @throws IllegalStateException where scales are no bytes
    public float[] bytes() {
        float[] values = new float[256];
        for (int i = 0; i < values.length; i++) {
            values[i] =
                    switch (this) {
                        case FLOAT -> throw new IllegalStateException("plain floats");
                        case POWER -> power(i);
                        case NESTED -> Codes.Floats.E4M3.value(i);
                    };
        }
        return values;
    }

    /// The power of two that a byte of [#POWER] stands for.
    public static float power(int exponent) {
        return switch (exponent) {
            case 0 -> 0x1p-127f; // no normal number
            case 255 -> Float.NaN;
            default -> Float.intBitsToFloat(exponent << 23);
        };
    }
}
