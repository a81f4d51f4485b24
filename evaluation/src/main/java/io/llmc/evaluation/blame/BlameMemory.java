// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import io.llmc.backend.Backend;
import io.llmc.model.Positions;
import io.llmc.model.language.Head;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.pass.StreamMemory;
import java.util.List;

/// How many windows go through the models together so that a memory cap is kept, and what that
/// takes outside the Java heap. Figures do not depend on it.
///
/// @param pieceRows whose scores are made together
/// @param bytes at the worst moment, in whole MiB
record BlameMemory(int windows, int pieceRows, long bytes) {
    private static final long SLACK = 1 << 16;

    /// Scores of a model, about.
    private static final long PIECE_BYTES = 64L << 20;

    private static final int MOST_PIECE_ROWS = 256;

    /// @param windows of the text
    /// @param length tokens of a window
    /// @throws io.llmc.formats.UserException where not even one window keeps the cap
    static BlameMemory within(
            long cap,
            Side original,
            Side compressed,
            List<Part> parts,
            int windows,
            int length,
            Backend backend) {
        int vocabulary = Math.max(original.spec().vocabulary(), compressed.spec().vocabulary());
        int rows = Head.rows(PIECE_BYTES, vocabulary, MOST_PIECE_ROWS);
        int batch = windows;
        int hidden = original.spec().width();
        // Blocks and passes need the rest of a device's own memory.
        while (backend.room() > 0
                && batch > 1
                && Walk.stateBytes(parts, (long) batch * length, hidden) > backend.room() / 2) {
            batch = (batch + 1) / 2;
        }
        BlameMemory found = of(batch, rows, original, compressed, parts, length, backend);
        // Fewer rows a piece read the head more often, fewer windows a batch all of both models.
        while (found.bytes > cap && rows > Head.MIN_ROWS) {
            rows = Math.max(Head.MIN_ROWS, rows / 2);
            found = of(batch, rows, original, compressed, parts, length, backend);
        }
        while (found.bytes > cap && batch > 1) {
            batch = (batch + 1) / 2;
            found = of(batch, rows, original, compressed, parts, length, backend);
        }
        ByteSize.requireWithin(cap, found.bytes, length > 2 ? "lower {window}" : "");
        return found;
    }

    private static BlameMemory of(
            int batch,
            int rows,
            Side original,
            Side compressed,
            List<Part> parts,
            int length,
            Backend backend) {
        int hidden = original.spec().width();
        long outer = 0;
        long blocks = 0;
        long pass = 0;
        long tables = 0;
        long logits = 0;
        for (Side side : List.of(original, compressed)) {
            StreamMemory s =
                    StreamMemory.of(side.checkpoint(), side.spec(), backend, batch, length);
            outer += s.outer();
            blocks += s.block();
            pass = Math.max(pass, s.pass());
            tables += Positions.bytes(side.spec(), length) + 256;
            logits += Walk.logitBytes(side, rows);
        }
        long kernels = backend.kernelBytes(rows, original.spec().vocabulary(), hidden);
        long states = Walk.stateBytes(parts, (long) batch * length, hidden);
        // What the kernels of the pass hold stays.
        long bytes = outer + tables + states + pass + Math.max(blocks, logits) + kernels + SLACK;
        return new BlameMemory(batch, rows, ByteSize.roundUp(bytes));
    }
}
