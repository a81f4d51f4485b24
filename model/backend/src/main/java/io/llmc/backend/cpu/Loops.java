// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;

/// Loops over arrays that the compiler makes vectors of by itself, for passes that see every weight
/// once.
///
/// The Vector API is a few times faster once it has been compiled, but that takes seconds, and
/// until then each of its operations takes a microsecond: more than a model of some billions of
/// weights wins by it. These loops are compiled in milliseconds. Each does little, since what has a
/// branch or a change between floats and their bits becomes no vectors.
final class Loops {
    private static final int EXPONENT = 0x7f800000;
    private static final boolean LITTLE_ENDIAN = ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN;

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

    /// `dst[0, n)` = elements `[from, from + n)` of the bytes of a tensor of floats.
    static void read(
            float[] dst, MemorySegment src, DType type, long from, int n, Scratch scratch) {
        if (type == DType.F32) {
            MemorySegment.copy(src, Lanes.F32, 4 * from, dst, 0, n);
            return;
        }
        if (type == DType.F16 || n % 2 != 0 || !LITTLE_ENDIAN) {
            short[] copy = new short[n];
            MemorySegment.copy(src, Lanes.I16, 2 * from, copy, 0, n);
            if (type == DType.F16) {
                fromHalf(dst, 0, copy, n);
            } else {
                widen(dst, 0, copy, n);
            }
            return;
        }
        int[] pairs = scratch.words(n / 2);
        long[] floats = scratch.longs(n / 2);
        MemorySegment.copy(src, Lanes.I32, 2 * from, pairs, 0, n / 2);
        widen(floats, pairs, n / 2);
        MemorySegment.copy(MemorySegment.ofArray(floats), 0, MemorySegment.ofArray(dst), 0, 4L * n);
    }

    /// Two floats each of two numbers of BF16, the first in the lower half.
    private static void widen(long[] floats, int[] pairs, int n) {
        for (int i = 0; i < n; i++) {
            long pair = pairs[i];
            floats[i] = pair << 32 & 0xffff_0000_0000_0000L | pair << 16 & 0xffff_0000L;
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

    /// `x = codes`, from 0 to 255; of no more than seven bits in a loop that becomes vectors.
    static void floats(float[] x, byte[] codes, int n, int bits) {
        if (bits == 8) {
            unsigned(x, codes, n);
        } else {
            signed(x, codes, n);
        }
    }

    private static void unsigned(float[] x, byte[] codes, int n) {
        for (int i = 0; i < n; i++) {
            x[i] = codes[i] & 0xff;
        }
    }

    private static void signed(float[] x, byte[] codes, int n) {
        for (int i = 0; i < n; i++) {
            x[i] = codes[i];
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
        return Float.intBitsToFloat(magnitude(bits, from, to));
    }

    // A loop each: one with two of them becomes no vectors.

    private static int magnitude(int[] bits, int from, int to) {
        int most = 0;
        for (int i = from; i < to; i++) {
            most = Math.max(most, bits[i] & Integer.MAX_VALUE);
        }
        return most;
    }

    private static int most(int[] bits, int from, int to) {
        int most = 0;
        for (int i = from; i < to; i++) {
            most = Math.max(most, bits[i]);
        }
        return most;
    }

    private static int least(int[] bits, int from, int to) {
        int least = 0;
        for (int i = from; i < to; i++) {
            least = Math.max(least, bits[i] ^ Integer.MIN_VALUE);
        }
        return least;
    }

    /// The range of `x[from, to)`, zero included: `low[at]` and `high[at]`. What is no number is
    /// left out.
    ///
    /// @param even whether what is as far from zero on both sides will do
    static void span(
            float[] low,
            float[] high,
            int at,
            float[] x,
            int[] bits,
            int from,
            int to,
            boolean even) {
        int most = even ? magnitude(bits, from, to) : most(bits, from, to);
        int least = even ? most : least(bits, from, to);
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

    /// `sums[at] = sum_i w[i] * x[i]`, and the same of y at `sums[at + step]`: four sums each,
    /// which take turns.
    static void dots(float[] sums, int at, int step, float[] w, float[] x, float[] y, int n) {
        float a0 = 0;
        float a1 = 0;
        float a2 = 0;
        float a3 = 0;
        float b0 = 0;
        float b1 = 0;
        float b2 = 0;
        float b3 = 0;
        int i = 0;
        for (; i < n - 3; i += 4) {
            a0 = Math.fma(w[i], x[i], a0);
            b0 = Math.fma(w[i], y[i], b0);
            a1 = Math.fma(w[i + 1], x[i + 1], a1);
            b1 = Math.fma(w[i + 1], y[i + 1], b1);
            a2 = Math.fma(w[i + 2], x[i + 2], a2);
            b2 = Math.fma(w[i + 2], y[i + 2], b2);
            a3 = Math.fma(w[i + 3], x[i + 3], a3);
            b3 = Math.fma(w[i + 3], y[i + 3], b3);
        }
        for (; i < n; i++) {
            a0 = Math.fma(w[i], x[i], a0);
            b0 = Math.fma(w[i], y[i], b0);
        }
        sums[at] = (a0 + a1) + (a2 + a3);
        sums[at + step] = (b0 + b1) + (b2 + b3);
    }
}
