// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Forward;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;

/// What comes behind a model's last block: the final norm, and the output layer with a score for
/// every token of the vocabulary. Scores of a whole text would not fit in memory: they are made for
/// a few rows at a time, reduced to what is asked of them, and dropped.
public record Head(LanguageModel model) {
    /// Fewer rows would have the layer read too often.
    public static final int MIN_ROWS = 16;

    /// Rows of a piece.
    ///
    /// @param bytes of its logits, about
    /// @param most more would not be multiplied faster
    public static int rows(long bytes, long vocabulary, int most) {
        return (int) Math.min(most, Math.max(MIN_ROWS, bytes / (4 * vocabulary)));
    }

    /// Bytes of an arena for a piece of so many rows: logits, before and after a bias or a cap too,
    /// what the layer reads, and a few numbers a row.
    public static long bytes(Checkpoint c, ModelSpec spec, int rows) {
        return copies(c, spec) * (4L * rows * spec.vocabulary() + 256)
                + 4L * rows * spec.hidden()
                + 16L * rows
                + gathering(spec, rows)
                + 4096;
    }

    /// Bytes that it takes beside the stream to make one of wider rows, and to norm and project it.
    public static long gathering(ModelSpec spec, long rows) {
        NormSpec norm = spec.finalNorm();
        int copies = norm != null && norm.centers() && norm.offset() != 0 ? 2 : 0;
        copies += spec.output().project() == null ? 0 : 1;
        if (spec.width() != spec.hidden()) {
            copies += spec.rows().ends() == null ? 1 : 8 * spec.rows().streams();
        }
        return copies * (4 * rows * spec.hidden() + 256);
    }

    /// How many times the logits of a piece are in memory: before and after a bias, a scale or a
    /// cap.
    public static int copies(Checkpoint c, ModelSpec spec) {
        ModelSpec.Output output = spec.output();
        int copies = 1 + (output.softcap() == 0 ? 0 : 1) + (output.scale() == 1 ? 0 : 1);
        return copies + (c.has(spec.head() + ".bias") ? 1 : 0);
    }

    /// Works on some of the rows.
    @FunctionalInterface
    public interface Piece<E extends Exception> {
        /// @param from the first row
        /// @param to the row behind the last
        /// @param scratch memory for the time of the call
        void run(int from, int to, TensorArena scratch) throws E;
    }

    /// All rows in their order, `piece` at a time.
    public static <E extends Exception> void inPieces(
            int rows, int piece, TensorArena arena, Piece<E> work) throws E {
        for (int from = 0; from < rows; from += piece) {
            try (TensorArena scratch = arena.scratch()) {
                work.run(from, Math.min(rows, from + piece), scratch);
            }
        }
    }

    /// What the output layer reads, `[rows, hidden]`.
    ///
    /// @param x the residual stream behind the last block
    public Tensor norm(Tensor x, TensorArena arena) {
        Tensor normed =
                arena.allocate(DType.F32, new Shape(x.rows(), model.spec().input().width()));
        model.finalNorm(forward(arena), normed, x);
        return normed;
    }

    /// Scores of the first ids of the vocabulary, `[rows, vocabulary]`.
    public Tensor logits(Tensor normed, long vocabulary, TensorArena arena) {
        return logits(forward(arena), normed, vocabulary);
    }

    /// The same in the arena of a pass, whose runner hears of it.
    public Tensor logits(Forward f, Tensor normed, long vocabulary) {
        Tensor logits = f.arena().allocate(DType.F32, new Shape(normed.rows(), vocabulary));
        model.logits(f, logits, normed);
        return logits;
    }

    /// No row stands before another here.
    private Forward forward(TensorArena arena) {
        return new Forward(model.backend(), arena, null);
    }
}
