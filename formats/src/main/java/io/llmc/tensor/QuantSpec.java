// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// What "4-bit, groups of 128, symmetric" means, independent of algorithm and of file layout.
///
/// @param bits 2, 3, 4 or 8
/// @param groupSize weights along the input that share a scale; [#CHANNEL] for a whole row
/// @param symmetric the zero point is the middle code `2^(bits-1)`
public record QuantSpec(int bits, int groupSize, boolean symmetric) {
    /// One group for a whole output row.
    public static final int CHANNEL = -1;

    public QuantSpec {
        if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
            throw new IllegalArgumentException("bits must be 2, 3, 4 or 8: " + bits);
        }
        if (groupSize <= 0 && groupSize != CHANNEL) {
            throw new IllegalArgumentException("group size must be positive: " + groupSize);
        }
    }

    /// `4 bits, groups of 64, symmetric`
    public String describe() {
        String groups = groupSize == CHANNEL ? "whole rows" : "groups of " + groupSize;
        return "%d bits, %s, %s".formatted(bits, groups, symmetric ? "symmetric" : "asymmetric");
    }

    public int maxCode() {
        return (1 << bits) - 1;
    }

    /// The zero point of every symmetric group.
    public int middleCode() {
        return 1 << (bits - 1);
    }

    /// Weights in a group of a row of `in` weights.
    public long groupLength(long in) {
        return groupSize == CHANNEL ? in : groupSize;
    }

    /// Groups in a row of `in` weights; the last may be short.
    public long groups(long in) {
        return Math.ceilDiv(in, groupLength(in));
    }

    /// 32-bit words that hold a row of `in` codes as one bit stream.
    public long words(long in) {
        return Math.ceilDiv(in * bits, 32L);
    }
}
