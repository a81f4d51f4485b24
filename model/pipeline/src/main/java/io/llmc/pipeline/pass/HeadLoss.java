// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.Head;
import io.llmc.model.language.LanguageModel;
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

    private static final int MAX_ROWS = 256;

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
        // The last token of a window has nothing to predict.
        int rows = length - 1;
        int piece = Math.min(rows, Head.rows(PIECE_BYTES, model.spec().vocabulary(), MAX_ROWS));
        long bytes = Head.bytes(model.checkpoint(), model.spec(), piece);
        try (TensorArena arena = model.backend().newArena(bytes)) {
            int window = states.firstWindow(chunk);
            for (long first = 0; first < x.rows(); first += length, window++) {
                MemorySegment ids = states.windows().range(window, window + 1);
                Tensor mine = x.rows(first, first + length);
                Head.inPieces(
                        rows,
                        piece,
                        arena,
                        (from, to, scratch) ->
                                add(
                                        mine.rows(from, to),
                                        ids.asSlice(4L * (from + 1), 4L * (to - from)),
                                        scratch));
            }
        }
    }

    private void add(Tensor x, MemorySegment next, TensorArena arena) {
        Backend backend = model.backend();
        Head head = new Head(model);
        Tensor targets = arena.allocate(DType.I32, new Shape(x.rows()));
        Tensor losses = arena.allocate(DType.F32, new Shape(x.rows()));
        backend.upload(targets, next);
        Tensor logits = head.logits(head.norm(x, arena), model.spec().vocabulary(), arena);
        backend.run(new LossOp.NegativeLogLikelihood(losses, logits, targets));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocate(losses.byteSize(), 4);
            backend.download(copy, losses);
            for (float loss : copy.toArray(ValueLayout.JAVA_FLOAT)) {
                sum += loss;
            }
        }
    }
}
