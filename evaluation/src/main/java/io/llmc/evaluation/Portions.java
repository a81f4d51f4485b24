// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

/// How much of a text is worked on at a time. Depends on sizes alone, never on threads.
///
/// @param batchBytes hidden states of each model, about
/// @param minBatchRows fewer would have a model that does not fit into memory read too often
/// @param pieceBytes logits of each model, about
/// @param maxPieceRows more would not be faster
record Portions(long batchBytes, int minBatchRows, long pieceBytes, int maxPieceRows) {
    static final Portions DEFAULT = new Portions(128L << 20, 8192, 64L << 20, 256);

    private static final int MIN_PIECE_ROWS = 16;

    /// Windows that go through the blocks together.
    ///
    /// @param hidden channels of the widest model
    /// @param length tokens of a window
    int batchWindows(int hidden, int length) {
        long rows = Math.max(minBatchRows, batchBytes / (4L * hidden));
        return (int) Math.max(1, rows / length);
    }

    /// Rows whose logits are made together.
    int pieceRows(int vocabulary) {
        long rows = Math.max(MIN_PIECE_ROWS, pieceBytes / (4L * vocabulary));
        return (int) Math.min(rows, maxPieceRows);
    }
}
