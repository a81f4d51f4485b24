// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.Head;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Estimate;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.plan.Warming;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;

/// How long an evaluation will take, found by doing a little of it again and again: some windows go
/// through the first block, and a piece of logits is made.
///
/// @param compares whether two models' predictions are compared
record EvalRehearsal(Backend backend, boolean compares) {
    /// Seconds for each of the two, about.
    private static final double BUDGET = 2.5;

    Estimate estimate(ModelRun run, ScoredWindows windows, int pieceRows) {
        try (LanguageModel model = new LanguageModel(run.checkpoint(), run.spec(), backend)) {
            return blocks(model, windows).plus(logits(model, windows.rows(), pieceRows));
        }
    }

    private Estimate blocks(LanguageModel model, ScoredWindows windows) {
        Windows all = windows.windows();
        int count = Math.min(windows.count(), HiddenStates.windowsPerChunk(all.length()));
        Windows some = new Windows(all.range(0, count), count, all.length());
        try (HiddenStates states = new HiddenStates(model, some, null)) {
            double times = (double) windows.count() / count * model.spec().layers().size();
            // Sequences that go through one block again and again would leave all that is usual.
            Warming w =
                    Warming.of(
                            BUDGET,
                            times,
                            () -> {
                                states.embed();
                                return Warming.timed(() -> states.advance(0)).getAsDouble();
                            });
            return w.estimate(times);
        }
    }

    private Estimate logits(LanguageModel model, int rows, int pieceRows) {
        ModelSpec spec = model.spec();
        int piece = Math.min(rows, pieceRows);
        long bytes = 2 * Head.bytes(model.checkpoint(), spec, piece) + (1 << 16);
        try (TensorArena arena = backend.newArena(bytes)) {
            Tensor normed = arena.allocate(DType.F32, new Shape(piece, spec.hidden()));
            Runnable once =
                    () -> {
                        try (TensorArena scratch = arena.scratch()) {
                            score(model, normed, scratch);
                        }
                    };
            double times = (double) rows / piece;
            return Warming.of(BUDGET, times, Warming.timed(once)).estimate(times);
        }
    }

    /// Logits and losses of normed rows, and what comparing takes.
    ///
    /// @param arena for them
    void score(LanguageModel model, Tensor normed, TensorArena arena) {
        Tensor logits = new Head(model).logits(normed, model.spec().vocabulary(), arena);
        Shape rows = new Shape(logits.rows());
        Tensor losses = arena.allocate(DType.F32, rows);
        Tensor targets = arena.allocate(DType.I32, rows);
        backend.run(new LossOp.NegativeLogLikelihood(losses, logits, targets));
        if (compares) { // half of it for each model
            backend.run(new LossOp.Divergence(losses, logits, logits));
            backend.run(new LossOp.ArgMax(targets, logits));
        }
        backend.floats(losses);
    }
}
