// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.model.language.Head;

/// How much of a text is worked on at a time. Depends on sizes alone, never on threads.
///
/// @param batchBytes hidden states of each model, about
/// @param minBatchRows fewer would have a model that does not fit into memory read too often
/// @param pieceBytes logits of each model, about
/// @param maxPieceRows more would not be faster
record Portions(long batchBytes, int minBatchRows, long pieceBytes, int maxPieceRows) {
    static final Portions DEFAULT = new Portions(128L << 20, 8192, 64L << 20, 256);

    /// Most hidden states at a time on a device with memory of its own.
    private static final long MAX_DEVICE_BATCH = 2L << 30;

    /// Figures do not depend on portions, so they are what suits the machine: smaller where a
    /// memory cap asks for it, larger on a device to which every batch brings all blocks anew.
    ///
    /// @param memory bytes at most; `Long.MAX_VALUE` for no cap
    /// @param room bytes of a device's own memory; 0 for the host's
    static Portions within(long memory, long room) {
        // Beside the hidden states a stage hands on what is inside of a block, several times as
        // wide.
        long device = Math.min(room / 16, MAX_DEVICE_BATCH);
        long batch = Math.min(Math.max(DEFAULT.batchBytes, device), memory / 4);
        boolean small = batch < DEFAULT.batchBytes;
        return new Portions(
                batch,
                small ? 1 : DEFAULT.minBatchRows,
                Math.min(DEFAULT.pieceBytes, memory / 8),
                DEFAULT.maxPieceRows);
    }

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
        return Head.rows(pieceBytes, vocabulary, maxPieceRows);
    }
}
