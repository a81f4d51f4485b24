// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Loops over arrays that the compiler makes vectors of by itself, for passes that see every weight
/// once.
///
/// The Vector API is a few times faster once it has been compiled, but that takes seconds, and until
/// then each of its operations takes a microsecond: more than a model of some billions of weights
/// wins by it. These loops are compiled in milliseconds. Each does little, since what has a branch
/// or a change between floats and their bits becomes no vectors.
final class Loops {
    private static final int EXPONENT = 0x7f800000;

    private Loops() {}

    /// `dst[at, at + n)` = numbers of BF16.
    static void widen(float[] dst, int at, short[] x, int n) {
        for (int i = 0; i < n; i++) {
            dst[at + i] = Float.intBitsToFloat(x[i] << 16);
        }
    }

    /// `dst[at, at + n)` = halves.
    static void fromHalf(float[] dst, int at, short[] x, int n) {
        for (int i = 0; i < n; i++) {
            dst[at + i] = Float.float16ToFloat(x[i]);
        }
    }

    /// `bits[0, n)` = the bits of floats.
    static void bits(int[] bits, float[] x, int n) {
        MemorySegment.copy(MemorySegment.ofArray(x), 0, MemorySegment.ofArray(bits), 0, 4L * n);
    }

    /// Rounds `x[0, n)` to the nearest values of `type`, half to even. NaN stays NaN where it is a
    /// result of arithmetic.
    static void round(float[] x, int n, DType type, Scratch scratch) {
        switch (type) {
            case F32 -> {}
            case F16 -> toHalf(x, n);
            case BF16 -> {
                int[] bits = scratch.words(n);
                bits(bits, x, n);
                toBf16(bits, n);
                MemorySegment.copy(
                        MemorySegment.ofArray(bits), 0, MemorySegment.ofArray(x), 0, 4L * n);
            }
            default -> throw new IllegalArgumentException("not a float type: " + type);
        }
    }

    private static void toHalf(float[] x, int n) {
        for (int i = 0; i < n; i++) {
            x[i] = Float.float16ToFloat(Float.floatToFloat16(x[i]));
        }
    }

    private static void toBf16(int[] bits, int n) {
        for (int i = 0; i < n; i++) {
            int k = bits[i];
            // All ones, but for NaN, whose payload could run over into the sign.
            int finite = (k & EXPONENT) - EXPONENT >> 31;
            bits[i] = k + (0x7fff + (k >>> 16 & 1) & finite) & 0xffff0000;
        }
    }

    /// `dst[i] = each[i / width]` for `[0, n)`
    static void spread(float[] dst, float[] each, int width, int n) {
        int g = 0;
        for (int from = 0; from < n; from += width) {
            int to = Math.min(n, from + width);
            float value = each[g++];
            for (int i = from; i < to; i++) {
                dst[i] = value;
            }
        }
    }

    /// Whether a number divided by one of these may be none, though it is one itself.
    static boolean odd(float[] scales, int n) {
        boolean odd = false;
        for (int g = 0; g < n; g++) {
            odd |= !(scales[g] > 0 && scales[g] < Float.POSITIVE_INFINITY);
        }
        return odd;
    }

    static void divide(float[] q, float[] x, float[] y, int n) {
        for (int i = 0; i < n; i++) {
            q[i] = x[i] / y[i];
        }
    }

    static void multiply(float[] x, float[] y, int n) {
        for (int i = 0; i < n; i++) {
            x[i] *= y[i];
        }
    }

    /// `x = codes`, from 0 to 255
    static void unsigned(float[] x, byte[] codes, int n) {
        for (int i = 0; i < n; i++) {
            x[i] = codes[i] & 0xff;
        }
    }

    /// `x -= y`
    static void subtract(float[] x, float[] y, int n) {
        for (int i = 0; i < n; i++) {
            x[i] -= y[i];
        }
    }

    /// `y = x - y`
    static void subtractFrom(float[] y, float[] x, int n) {
        for (int i = 0; i < n; i++) {
            y[i] = x[i] - y[i];
        }
    }

    /// The integers nearest to `x / scale`, half to even, not below `low` nor above `low + most`.
    static void integers(float[] q, float[] x, float[] scale, float[] low, float most, int n) {
        for (int i = 0; i < n; i++) {
            float v = Math.min(Math.max(x[i] / scale[i], low[i]), low[i] + most);
            q[i] = v + QuantKernels.INTEGERS - QuantKernels.INTEGERS;
        }
    }

    /// `codes = q - low`, which is no less than 0; 0 for NaN.
    static void codes(byte[] codes, float[] q, float[] low, int n) {
        for (int i = 0; i < n; i++) {
            codes[i] = (byte) (int) (q[i] - low[i]);
        }
    }

    /// The largest magnitude of `bits[from, to)`, NaN where there is one: without their signs,
    /// floats are in the order of their bits, with NaN above infinity.
    static float largest(int[] bits, int from, int to) {
        int most = 0;
        for (int i = from; i < to; i++) {
            most = Math.max(most, bits[i] & Integer.MAX_VALUE);
        }
        return Float.intBitsToFloat(most);
    }

    /// The range of `x[from, to)`, zero included: `low[at]` and `high[at]`. What is no number is
    /// left out.
    static void span(float[] low, float[] high, int at, float[] x, int[] bits, int from, int to) {
        int most = 0;
        int least = 0;
        for (int i = from; i < to; i++) {
            most = Math.max(most, bits[i]);
            least = Math.max(least, bits[i] ^ Integer.MIN_VALUE);
        }
        if (most <= EXPONENT && least <= EXPONENT) {
            low[at] = 0 - Float.intBitsToFloat(least);
            high[at] = Float.intBitsToFloat(most);
            return;
        }
        low[at] = 0;
        high[at] = 0;
        for (int i = from; i < to; i++) {
            low[at] = x[i] < low[at] ? x[i] : low[at];
            high[at] = x[i] > high[at] ? x[i] : high[at];
        }
    }

    /// The squares of two rows in F64, which are exact; their sums in `sums[0]` and `sums[1]`, each
    /// of four that take turns.
    static void squares(double[] sums, float[] x, float[] y, int n, Scratch scratch) {
        double[] xx = scratch.doubles(1, n);
        double[] yy = scratch.doubles(2, n);
        square(xx, x, n);
        square(yy, y, n);
        double a0 = 0;
        double a1 = 0;
        double a2 = 0;
        double a3 = 0;
        double b0 = 0;
        double b1 = 0;
        double b2 = 0;
        double b3 = 0;
        int i = 0;
        for (; i < n - 3; i += 4) {
            a0 += xx[i];
            a1 += xx[i + 1];
            a2 += xx[i + 2];
            a3 += xx[i + 3];
            b0 += yy[i];
            b1 += yy[i + 1];
            b2 += yy[i + 2];
            b3 += yy[i + 3];
        }
        for (; i < n; i++) {
            a0 += xx[i];
            b0 += yy[i];
        }
        sums[0] = (a0 + a1) + (a2 + a3);
        sums[1] = (b0 + b1) + (b2 + b3);
    }

    private static void square(double[] squares, float[] x, int n) {
        for (int i = 0; i < n; i++) {
            squares[i] = (double) x[i] * x[i];
        }
    }

    /// `sum_i w[i] * x[from + i]`, eight sums that take turns.
    static float dot(float[] w, float[] x, int from, int n) {
        float a0 = 0;
        float a1 = 0;
        float a2 = 0;
        float a3 = 0;
        float a4 = 0;
        float a5 = 0;
        float a6 = 0;
        float a7 = 0;
        int i = 0;
        for (; i < n - 7; i += 8) {
            a0 += w[i] * x[from + i];
            a1 += w[i + 1] * x[from + i + 1];
            a2 += w[i + 2] * x[from + i + 2];
            a3 += w[i + 3] * x[from + i + 3];
            a4 += w[i + 4] * x[from + i + 4];
            a5 += w[i + 5] * x[from + i + 5];
            a6 += w[i + 6] * x[from + i + 6];
            a7 += w[i + 7] * x[from + i + 7];
        }
        for (; i < n; i++) {
            a0 += w[i] * x[from + i];
        }
        return ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7));
    }
}
