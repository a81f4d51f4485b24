// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.Codes;

/// [Codes.Floats] by tables: the code of a float by its first sixteen bits, and what codes stand
/// for.
///
/// A float with more bits has the code of one whose sixteenth bit says whether any bit after it is
/// set: codes keep so few of the sixteen that the bit is neither of a code nor the one that tells
/// what lies half way.
record CodeTable(byte[] codes, float[] values) {
    private static final CodeTable E4M3 = table(Codes.Floats.E4M3);
    private static final CodeTable E2M1 = table(Codes.Floats.E2M1);

    static CodeTable of(Codes.Floats codes) {
        return codes.equals(Codes.Floats.E2M1) ? E2M1 : E4M3;
    }

    private static CodeTable table(Codes.Floats floats) {
        byte[] codes = new byte[1 << 16];
        for (int top = 0; top < codes.length; top++) {
            codes[top] = (byte) floats.code(Float.intBitsToFloat(top << 16));
        }
        float[] values = new float[256];
        for (int code = 0; code < values.length; code++) {
            values[code] = floats.value(code);
        }
        return new CodeTable(codes, values);
    }

    /// The codes of the numbers nearest to `x[0, n)`.
    void codes(byte[] dst, float[] x, int n, Scratch scratch) {
        int[] bits = scratch.words(n);
        Loops.bits(bits, x, n);
        look(dst, bits, codes, n);
    }

    private static void look(byte[] dst, int[] bits, byte[] codes, int n) {
        for (int i = 0; i < n; i++) {
            int k = bits[i];
            dst[i] = codes[k >>> 16 | (k & 0xffff) + 0xffff >>> 16];
        }
    }

    /// `x[0, n)` = what codes stand for.
    void values(float[] x, byte[] of, int n) {
        look(x, of, values, n);
    }

    private static void look(float[] x, byte[] codes, float[] values, int n) {
        for (int i = 0; i < n; i++) {
            x[i] = values[codes[i] & 0xff];
        }
    }

    /// The same where x was a number; what is none stays, also where no code stands for it.
    void valuesOfNumbers(float[] x, byte[] of, int n) {
        for (int i = 0; i < n; i++) {
            x[i] = Float.isNaN(x[i]) ? x[i] : values[of[i] & 0xff];
        }
    }
}
