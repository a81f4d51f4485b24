// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.model.Forward;
import io.llmc.model.LanguageModel;
import io.llmc.model.ModelSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// How well the residual stream of sequences predicts their next tokens. Logits exist for a few
/// rows at a time only.
public final class HeadLoss {
    /// Bytes of the logits of a piece, about.
    private static final long PIECE_BYTES = 64L << 20;

    /// More rows would not be multiplied faster, fewer would read the head too often.
    private static final int MAX_ROWS = 256;

    private static final int MIN_ROWS = 16;

    private final LanguageModel model;
    private final HiddenStates states;
    private double sum;

    private HeadLoss(LanguageModel model, HiddenStates states) {
        this.model = model;
        this.states = states;
    }

    /// Bytes of the device that [#mean] takes, about.
    public static long bytes(ModelSpec spec) {
        return 2 * PIECE_BYTES + 4L * MAX_ROWS * spec.hidden();
    }

    /// The mean negative log-likelihood, in nats, of all tokens but the first of each window, by
    /// the model's final norm and head; its exponential is the perplexity.
    ///
    /// @param states behind the last block that counts
    /// @throws UserException where it is no finite number
    public static double mean(LanguageModel model, HiddenStates states) {
        HeadLoss loss = new HeadLoss(model, states);
        states.forEach(loss::add);
        double mean =
                loss.sum / ((double) states.windows().count() * (states.windows().length() - 1));
        if (!Double.isFinite(mean)) {
            throw new UserException(
                    model.checkpoint().directory()
                            + " predicts no finite probability for some calibration token",
                    "its weights or its config are broken; look at them with llmc inspect");
        }
        return mean;
    }

    private void add(Tensor x, int chunk) {
        int length = states.windows().length();
        int step = pieceRows(model.spec().vocabulary(), length - 1);
        try (TensorArena arena = model.backend().newArena(bytes(step))) {
            int window = states.firstWindow(chunk);
            for (long first = 0; first < x.rows(); first += length, window++) {
                MemorySegment ids = states.windows().range(window, window + 1);
                // The last token of a window has nothing to predict.
                for (int from = 0; from < length - 1; from += step) {
                    int rows = Math.min(step, length - 1 - from);
                    try (TensorArena scratch = arena.scratch()) {
                        add(
                                scratch,
                                x.rows(first + from, first + from + rows),
                                ids.asSlice(4L * (from + 1), 4L * rows));
                    }
                }
            }
        }
    }

    private void add(TensorArena arena, Tensor x, MemorySegment next) {
        Backend backend = model.backend();
        Forward f = new Forward(backend, arena, states.positions());
        Tensor normed = arena.allocate(DType.F32, x.shape());
        Tensor logits = arena.allocate(DType.F32, new Shape(x.rows(), model.spec().vocabulary()));
        Tensor targets = arena.allocate(DType.I32, new Shape(x.rows()));
        Tensor losses = arena.allocate(DType.F32, new Shape(x.rows()));
        backend.upload(targets, next);
        model.finalNorm(f, normed, x);
        model.logits(f, logits, normed);
        f.run(new LossOp.NegativeLogLikelihood(losses, logits, targets));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocate(losses.byteSize(), 4);
            backend.download(copy, losses);
            for (float loss : copy.toArray(ValueLayout.JAVA_FLOAT)) {
                sum += loss;
            }
        }
    }

    private static int pieceRows(int vocabulary, int most) {
        long rows = Math.clamp(PIECE_BYTES / (4L * vocabulary), MIN_ROWS, MAX_ROWS);
        return (int) Math.min(rows, most);
    }

    /// Of a piece: logits, before and after a bias or a cap too, and what is small beside them.
    private long bytes(int rows) {
        ModelSpec spec = model.spec();
        int copies = spec.logitSoftcap() == 0 ? 1 : 2;
        copies += model.checkpoint().has(spec.head() + ".bias") ? 1 : 0;
        return copies * (4L * rows * spec.vocabulary() + 256)
                + 4L * rows * spec.hidden()
                + 16L * rows
                + 4096;
    }
}
