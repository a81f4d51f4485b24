// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.kld;

/// How much of a text a base file holds.
///
/// @param context tokens of a chunk: a window
/// @param vocabulary ids that are predicted
/// @param chunks windows
public record KldShape(int context, int vocabulary, int chunks) {
    /// Magic and three numbers.
    static final int HEAD = 20;

    /// Scale and least log-probability of a record, in codes.
    static final int RECORD_HEAD = 4;

    /// Rows of a chunk: its positions from half of it on, but the last, which has no next token.
    public int scored() {
        return context - 1 - context / 2;
    }

    /// Of all chunks.
    public long rows() {
        return (long) scored() * chunks;
    }

    /// Of the text.
    public long ids() {
        return (long) context * chunks;
    }

    /// Two a code; where the vocabulary is odd, the last code is unused.
    long recordBytes() {
        return 2L * (RECORD_HEAD + vocabulary + (vocabulary & 1));
    }

    long recordsAt() {
        return HEAD + 4 * ids();
    }

    /// Of the whole file.
    public long bytes() {
        return recordsAt() + rows() * recordBytes();
    }
}
