// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import java.util.Arrays;

/// How much farther keys lose, a slope for each head: ALiBi (Press et al., 2021, arXiv 2108.12409)
/// in the forms in which models were trained with it.
public enum Alibi {
    /// Slopes of the largest power of two of heads, then every other one of twice as many: BLOOM,
    /// and the paper.
    BLOOM,

    /// The same, rounded to BF16 and so multiplied by positions, and divided by the root of a
    /// head's size like all of a score: Falcon.
    FALCON,

    /// Of the next power of two of heads every other one first, the others behind them: MPT.
    MPT;

    /// @return `[heads]`
    public float[] slopes(int heads) {
        float[] slopes = new float[heads];
        if (this == MPT) {
            int all = Integer.highestOneBit(Math.max(1, 2 * heads - 1));
            for (int h = 0; h < heads; h++) {
                int i = all == heads ? h + 1 : h < all / 2 ? 2 * (h + 1) : 2 * (h - all / 2) + 1;
                slopes[h] = (float) Math.pow(2, -8.0 * i / all);
            }
            return slopes;
        }
        int whole = Integer.highestOneBit(heads);
        for (int h = 0; h < heads; h++) {
            slopes[h] =
                    h < whole
                            ? (float) Math.pow(2, -8.0 * (h + 1) / whole)
                            : (float) Math.pow(2, -4.0 * (2 * (h - whole) + 1) / whole);
        }
        return slopes;
    }

    /// What a key at a position adds to the scores of each head, as [#FALCON] rounds it.
    float[] added(int heads, int position) {
        float[] slopes = slopes(heads);
        for (int h = 0; h < heads; h++) {
            slopes[h] = bf16(bf16(slopes[h]) * bf16(position));
        }
        return slopes;
    }

    static float[] ones(int heads) {
        float[] ones = new float[heads];
        Arrays.fill(ones, 1);
        return ones;
    }

    private static float bf16(float x) {
        int bits = Float.floatToRawIntBits(x);
        return Float.intBitsToFloat((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000);
    }
}
