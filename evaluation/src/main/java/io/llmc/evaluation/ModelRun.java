// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.Models;
import io.llmc.model.language.Head;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;

/// One model of an evaluation: carries windows through its blocks, keeps what the head reads of the
/// rows that count, and makes logits of them piece by piece.
final class ModelRun implements AutoCloseable {
    private final Checkpoint checkpoint;
    private final ModelSpec spec;

    /// Mapped when the first windows come, once it is known that they fit.
    private LanguageModel model;

    private final Backend backend;
    private Arena host;
    private MemorySegment finals;
    private long nanos;
    private long tokens;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    ModelRun(Models models, Path directory, Backend backend, Progress progress) {
        this.backend = backend;
        this.checkpoint = models.open(directory, progress::note);
        try {
            this.spec = Architectures.specOf(checkpoint);
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    Checkpoint checkpoint() {
        return checkpoint;
    }

    ModelSpec spec() {
        return spec;
    }

    /// @throws UserException where the model has fewer positions than a window
    void requirePositions(int window) {
        spec.requirePositions(window, checkpoint.directory(), "lower {window}");
    }

    /// Steps of progress that [#stream] reports.
    int steps() {
        return spec().layers().size();
    }

    /// Carries a batch of windows through the blocks and the final norm. What an earlier batch left
    /// is gone.
    @SuppressWarnings("MustBeClosed") // closed by close()
    void stream(ScoredWindows batch, Progress progress) {
        long start = System.nanoTime();
        release();
        if (model == null) {
            model = new LanguageModel(checkpoint, spec, backend);
        }
        try (HiddenStates states = new HiddenStates(model, batch.windows(), null)) {
            states.embed();
            for (int i = 0; i < steps(); i++) {
                states.advance(i);
                progress.advance(1, spec().layers().get(i).prefix());
            }
            keepFinals(states, batch);
        }
        nanos += System.nanoTime() - start;
        tokens += (long) batch.count() * batch.windows().length();
    }

    @SuppressWarnings("MustBeClosed") // the host arena is closed by the next batch, or by close()
    private void keepFinals(HiddenStates states, ScoredWindows batch) {
        int hidden = spec().input().width();
        int length = batch.windows().length();
        host = backend.host().newArena();
        finals = host.allocate(4L * batch.rows() * hidden, 64);
        long[] at = {0};
        long bytes =
                4L * states.chunkRows() * hidden
                        + Head.gathering(spec(), states.chunkRows())
                        + 1024;
        try (TensorArena arena = backend.newArena(bytes)) {
            states.forEach((x, chunk) -> {
                try (TensorArena scratch = arena.scratch()) {
                    Tensor normed = new Head(model).norm(x, scratch);
                    int window = states.firstWindow(chunk);
                    for (long row = 0; row < x.rows(); row += length, window++) {
                        int first = batch.firstRow()[window];
                        int end = batch.endRow()[window];
                        if (first < end) {
                            Tensor rows = normed.rows(row + first, row + end);
                            backend.download(finals.asSlice(at[0], rows.byteSize()), rows);
                            at[0] += rows.byteSize();
                        }
                    }
                }
            });
        }
    }

    /// Logits of rows `[from, to)` of the batch's rows that count, `[rows, vocabulary]`.
    ///
    /// @param vocabulary of the model, or its first ids
    Tensor logits(TensorArena arena, int from, int to, int vocabulary) {
        long start = System.nanoTime();
        Tensor normed = arena.allocate(DType.F32, new Shape(to - from, spec().input().width()));
        backend.upload(
                normed, finals.asSlice(4L * from * spec().input().width(), normed.byteSize()));
        Tensor out = new Head(model).logits(normed, vocabulary, arena);
        nanos += System.nanoTime() - start;
        return out;
    }

    /// Negative log-likelihoods of `targets` under `logits`, to `out`.
    ///
    /// @param targets I32 `[rows]`
    /// @param buffer host memory of 4 bytes a row at least
    void losses(
            TensorArena arena,
            Tensor logits,
            Tensor targets,
            MemorySegment buffer,
            float[] out,
            int at) {
        long start = System.nanoTime();
        try (TensorArena scratch = arena.scratch()) {
            Tensor losses = scratch.allocate(DType.F32, new Shape(logits.rows()));
            backend.run(new LossOp.NegativeLogLikelihood(losses, logits, targets));
            Rows.download(backend, losses, buffer, out, at);
        }
        nanos += System.nanoTime() - start;
        for (int i = at; i < at + logits.rows(); i++) {
            if (!Float.isFinite(out[i])) {
                throw new UserException(
                        "%s predicts no finite probability for scored token %,d"
                                .formatted(checkpoint.directory(), i),
                        "its weights or its config are broken; look at them with llmc inspect");
            }
        }
    }

    double tokensPerSecond() {
        return tokens * 1e9 / nanos;
    }

    private void release() {
        if (host != null) {
            host.close();
            host = null;
        }
    }

    @Override
    public void close() {
        release();
        if (model != null) {
            model.close();
        }
        checkpoint.close();
    }
}
