// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// The numbers that a quantized value may take, before its scale: what a code means is said here
/// and nowhere else. Kernels may compute it in other ways, but must get the same.
public sealed interface Codes {
    int bits();

    /// The number that a largest magnitude is mapped to: its scale is `amax / reach()`.
    float reach();

    /// The nearest number that has a code, half to even; beyond the range its end.
    float nearest(float x);

    /// Integers. Stored codes count from 0 to [#maxCode], less a zero point that each group has;
    /// where all are symmetric it is [#middleCode], so that they stand for `-2^(bits-1)` to
    /// `2^(bits-1) - 1`.
    ///
    /// @param bits 2 to 8
    /// @param symmetric every zero point is the middle code
    record Ints(int bits, boolean symmetric) implements Codes {
        public Ints {
            if (bits < 2 || bits > 8) {
                throw new IllegalArgumentException("bits must be 2 to 8: " + bits);
            }
        }

        public int maxCode() {
            return (1 << bits) - 1;
        }

        /// The zero point of every symmetric group.
        public int middleCode() {
            return 1 << (bits - 1);
        }

        /// 32-bit words that hold a row of `in` codes as one bit stream.
        public long words(long in) {
            return Math.ceilDiv(in * bits, 32L);
        }

        public float value(int code, int zero) {
            return code - zero;
        }

        /// Half of all steps, so that every code is used: 7.5 for 4 bits.
        @Override
        public float reach() {
            return maxCode() / 2f;
        }

        @Override
        public float nearest(float x) {
            return (float) Math.rint(Math.clamp(x, -middleCode(), middleCode() - 1));
        }
    }

    /// Small floats; a code is their bit pattern.
    ///
    /// @param type F8_E4M3: no infinities, 448 the largest (Micikevicius et al., 2022, arXiv
    ///   2209.05433); or F4, which is E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives (OCP
    ///   Microscaling Formats v1.0, 2023)
    record Floats(DType type) implements Codes {
        public static final Floats E4M3 = new Floats(DType.F8_E4M3);
        public static final Floats E2M1 = new Floats(DType.F4);

        private static final float[] E2M1_VALUES = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

        public Floats {
            if (type != DType.F8_E4M3 && type != DType.F4) {
                throw new IllegalArgumentException("no codes of type " + type);
            }
        }

        @Override
        public int bits() {
            return type.bits();
        }

        @Override
        public float reach() {
            return type == DType.F4 ? 6 : 448;
        }

        /// @param code the bit pattern; NaN for 0x7f and 0xff of F8_E4M3
        public float value(int code) {
            if (type == DType.F4) {
                float value = E2M1_VALUES[code & 7];
                return (code & 8) == 0 ? value : -value;
            }
            int magnitude = code & 0x7f;
            float value;
            if (magnitude == 0x7f) {
                value = Float.NaN;
            } else if (magnitude < 8) {
                value = magnitude * 0x1p-9f; // below the normal numbers, steps of 2^-9
            } else {
                // An F32 with the same mantissa and the exponent's bias moved from 7 to 127.
                value = Float.intBitsToFloat((magnitude << 20) + (127 - 7 << 23));
            }
            return (code & 0x80) == 0 ? value : -value;
        }

        /// The code of the nearest number, half to even; beyond the largest that of the largest.
        /// NaN has one in F8_E4M3 only, and is 0 in F4.
        public int code(float x) {
            return type == DType.F4 ? e2m1(x) : e4m3(x);
        }

        private static int e2m1(float x) {
            int sign = Float.floatToRawIntBits(x) >>> 28 & 8;
            float magnitude = Math.abs(x);
            // Half way between neighbours; a tie goes to the code that is even.
            int code = 0;
            while (code < 7) {
                float half = (E2M1_VALUES[code] + E2M1_VALUES[code + 1]) / 2;
                if (!(magnitude > half || magnitude == half && (code & 1) == 1)) {
                    break;
                }
                code++;
            }
            return sign | code;
        }

        private static int e4m3(float x) {
            int sign = Float.floatToRawIntBits(x) >>> 24 & 0x80;
            float magnitude = Math.abs(x);
            if (Float.isNaN(x)) {
                return sign | 0x7f;
            }
            if (magnitude >= 448) {
                return sign | 0x7e;
            }
            if (magnitude < 0x1p-6f) {
                return sign | (int) Math.rint(magnitude * 0x1p9f);
            }
            int bits = Float.floatToRawIntBits(magnitude) - (127 - 7 << 23);
            // 20 bits of mantissa go; what lies half way goes to the even neighbour.
            return sign | bits + 0x7ffff + (bits >>> 20 & 1) >>> 20;
        }

        @Override
        public float nearest(float x) {
            return value(code(x));
        }
    }
}
