// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

/// The 8-bit dynamic tree map of [io.llmc.backend.OptimizerOp.AccumulateAdamW8], and its inverse in
/// constant time.
///
/// A float's exponent and its first 8 bits of mantissa name a cell. No cell holds more than one
/// border between two ranks, since magnitudes are at least 1/143 apart and a cell is at most 1/256
/// wide, both as parts of their value; so one look at a table and one comparison find the rank.
final class DynamicMap {
    /// The code of 0 where there are signs.
    static final int ZERO = 127;

    private static final double[] POWERS = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6};
    private static final int CELL_BITS = 15;

    /// The cell of 2^-24, below all borders.
    private static final int FIRST = cell(0x1p-24f);

    /// With a sign: codes are 127 plus or minus a rank.
    static final DynamicMap SIGNED = new DynamicMap(6);

    /// Without: a code is a rank.
    static final DynamicMap UNSIGNED = new DynamicMap(7);

    /// By rank.
    private final float[] magnitudes;

    /// By rank: the largest float that is not nearer to the next magnitude.
    private final float[] borders;

    /// By cell after [#FIRST]: the rank of its least float.
    private final byte[] ranks = new byte[cell(1) - FIRST + 1];

    /// @param bits of the fraction where the exponent is 0
    private DynamicMap(int bits) {
        magnitudes = magnitudes(bits);
        borders = new float[magnitudes.length];
        for (int r = 0; r + 1 < borders.length; r++) {
            double middle = ((double) magnitudes[r] + magnitudes[r + 1]) / 2;
            float border = (float) middle;
            borders[r] = border > middle ? Math.nextDown(border) : border;
        }
        borders[borders.length - 1] = Float.POSITIVE_INFINITY;
        int rank = 0;
        for (int c = 0; c < ranks.length; c++) {
            float least = c == 0 ? 0 : Float.intBitsToFloat((FIRST + c) << CELL_BITS);
            while (least > borders[rank]) {
                rank++;
            }
            ranks[c] = (byte) rank;
        }
    }

    private static float[] magnitudes(int bits) {
        float[] magnitudes = new float[(2 << bits) - (1 << (bits - POWERS.length + 1)) + 2];
        int at = 1; // after 0
        for (int e = POWERS.length - 1; e >= 0; e--) {
            int parts = 1 << (bits - e);
            for (int i = 0; i < parts; i++) {
                magnitudes[at++] = (float) (POWERS[e] * (0.1 + 0.9 * (i + 0.5) / parts));
            }
        }
        magnitudes[at] = 1;
        return magnitudes;
    }

    private static int cell(float x) {
        return Float.floatToRawIntBits(x) >>> CELL_BITS;
    }

    /// Of the nearest magnitude, the lower one on a tie.
    ///
    /// @param x from 0 to 1; what is above or no number counts as 1
    int rank(float x) {
        int c = Math.clamp(cell(x) - FIRST, 0, ranks.length - 1);
        int rank = ranks[c] & 0xff;
        return x > borders[rank] ? rank + 1 : rank;
    }

    /// A table of all 256 codes.
    float[] values() {
        if (this == UNSIGNED) {
            return magnitudes.clone();
        }
        float[] values = new float[256];
        for (int code = 0; code < 256; code++) {
            values[code] = code < ZERO ? -magnitudes[ZERO - code] : magnitudes[code - ZERO];
        }
        return values;
    }
}
