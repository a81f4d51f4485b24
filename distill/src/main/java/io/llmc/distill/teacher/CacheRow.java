// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.teacher;

import java.nio.ByteBuffer;

/// How a cache spells what a teacher says after one token: F32 greatest and least log-probability,
/// the ids in `ceil(log2 vocabulary)` bits each, the first in the lowest bits, and for each
/// log-probability a 16-bit step between the two, so that it is off by half a step at most. All
/// little-endian.
public record CacheRow(int vocabulary, int topK) {
    private static final int STEPS = 0xffff;

    int idBits() {
        return Integer.SIZE - Integer.numberOfLeadingZeros(vocabulary - 1);
    }

    /// Bytes of a row, 280 at most for 64 of 262,144 tokens.
    public long bytes() {
        return 2L * Float.BYTES
                + Math.ceilDiv((long) topK * idBits(), Byte.SIZE)
                + (long) topK * Short.BYTES;
    }

    /// Writes one row.
    ///
    /// @param out little-endian
    /// @param values finite, falling
    /// @param at where the row begins in both arrays
    void encode(ByteBuffer out, int[] ids, float[] values, int at) {
        double high = values[at];
        double low = values[at + topK - 1];
        out.putFloat(values[at]).putFloat(values[at + topK - 1]);
        long bits = 0;
        int held = 0;
        for (int j = 0; j < topK; j++) {
            bits |= (long) ids[at + j] << held;
            for (held += idBits(); held >= Byte.SIZE; held -= Byte.SIZE) {
                out.put((byte) bits);
                bits >>>= Byte.SIZE;
            }
        }
        if (held > 0) {
            out.put((byte) bits);
        }
        for (int j = 0; j < topK; j++) {
            double part = high == low ? 0 : (values[at + j] - low) / (high - low);
            out.putShort((short) Math.round(part * STEPS));
        }
    }

    /// Reads one row.
    ///
    /// @throws IllegalArgumentException where it is nothing that [#encode] writes
    void decode(ByteBuffer in, int[] ids, float[] values, int at) {
        double high = in.getFloat();
        double low = in.getFloat();
        if (!(low > Float.NEGATIVE_INFINITY && low <= high && high < 1)) {
            throw new IllegalArgumentException(
                    "log-probabilities from %s to %s".formatted(low, high));
        }
        long bits = 0;
        int held = 0;
        for (int j = 0; j < topK; j++) {
            for (; held < idBits(); held += Byte.SIZE) {
                bits |= (in.get() & 0xffL) << held;
            }
            ids[at + j] = (int) (bits & ((1L << idBits()) - 1));
            bits >>>= idBits();
            held -= idBits();
            if (ids[at + j] >= vocabulary) {
                throw new IllegalArgumentException(
                        "token %d of %d".formatted(ids[at + j], vocabulary));
            }
        }
        for (int j = 0; j < topK; j++) {
            int step = in.getShort() & STEPS;
            values[at + j] = (float) (low + (high - low) * step / STEPS);
        }
    }
}
