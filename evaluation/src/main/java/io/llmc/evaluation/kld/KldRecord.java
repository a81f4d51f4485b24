// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.kld;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ShortBuffer;

/// The log-probabilities of one row in 16 bits each: `log p = scale code + least`, where what lies
/// more than 16 below the likeliest has the code 0. Arithmetic in float and in the order of
/// llama.cpp, so that the same logits give the same bytes.
final class KldRecord {
    /// Natural logarithms below the likeliest token that are told apart.
    private static final float DEPTH = 16;

    private static final float STEPS = 65535;

    /// Adding it to a number below 2^22 leaves that number, rounded to even, in the low bits.
    private static final float ROUNDER = 12582912f;

    /// Below it `exp` is 0 in float.
    private static final float VANISHES = -104;

    private final short[] codes;

    KldRecord(int vocabulary) {
        this.codes = new short[vocabulary];
    }

    /// @param to one record; its position does not move
    /// @param logits `[vocabulary]`
    void encode(ByteBuffer to, float[] logits) {
        float max = logits[0];
        float min = logits[0];
        for (float x : logits) {
            max = Math.max(max, x);
            min = Math.min(min, x);
        }
        min = Math.max(min, max - DEPTH);
        float scale = (max - min) / STEPS;
        float inverse = scale == 0 ? 0 : 1 / scale;
        for (int i = 0; i < codes.length; i++) {
            float steps = inverse * (logits[i] - min);
            codes[i] = (short) (Float.floatToRawIntBits(Math.max(steps, 0) + ROUNDER));
        }
        ByteBuffer record = to.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        record.putFloat(scale).putFloat(min - max - logSum(logits, max));
        record.asShortBuffer().put(codes);
        if ((codes.length & 1) != 0) {
            record.putShort(record.position() + 2 * codes.length, (short) 0);
        }
    }

    /// `log sum exp(logits - max)`: exponentials are rounded to float, their sum is in double.
    private static float logSum(float[] logits, float max) {
        double sum = 0;
        for (float x : logits) {
            float below = x - max;
            if (below > VANISHES) {
                sum += (float) Math.exp(below);
            }
        }
        return (float) Math.log(sum);
    }

    /// @param logProbabilities `[vocabulary]`, to write
    /// @param from one record; its position does not move
    /// @return the likeliest token, the first of equals; -1 where the record's head is none
    int decode(float[] logProbabilities, ByteBuffer from) {
        ByteBuffer record = from.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        float scale = record.getFloat();
        float least = record.getFloat();
        ShortBuffer values = record.asShortBuffer();
        values.get(codes);
        int best = 0;
        int most = -1;
        for (int i = 0; i < codes.length; i++) {
            int code = codes[i] & 0xffff;
            logProbabilities[i] = scale * code + least;
            if (code > most) {
                most = code;
                best = i;
            }
        }
        // A probability is at most 1, but for rounding; a comparison with NaN is false.
        boolean sane = scale >= 0 && least > -1e6f && logProbabilities[best] < 0.01f;
        return sane ? best : -1;
    }
}
