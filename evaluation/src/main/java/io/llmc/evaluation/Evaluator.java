// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.evaluation.EvalResult.Measured;
import io.llmc.evaluation.kld.KldShape;
import io.llmc.formats.FormatException;
import io.llmc.model.arch.Models;
import io.llmc.model.language.Head;
import io.llmc.pipeline.Estimate;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Step;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/// Measures a model on a text, by itself or against its original.
///
/// Windows go through the blocks in batches, one model after the other; logits of a few rows at a
/// time are made, reduced to one number a row, and dropped. Sums are in double precision and in the
/// order of the text, so figures do not depend on the number of threads.
public final class Evaluator {
    private final Models models;
    private final Backend backend;
    private final Progress progress;
    private final long memory;

    /// Null where they follow from the memory cap.
    private final Portions fixed;

    /// @param backend where the models run
    /// @param memory bytes outside the Java heap at most; `Long.MAX_VALUE` for no cap
    public Evaluator(Models models, Backend backend, Progress progress, long memory) {
        this(models, backend, progress, memory, null);
    }

    Evaluator(Backend backend, Progress progress, Portions portions) {
        this(Models.AS_THEY_SAY, backend, progress, Long.MAX_VALUE, portions);
    }

    private Evaluator(
            Models models, Backend backend, Progress progress, long memory, Portions fixed) {
        this.models = models;
        this.backend = backend;
        this.progress = progress;
        this.memory = memory;
        this.fixed = fixed;
    }

    /// Opens everything, and looks at headers and text alone.
    ///
    /// @throws io.llmc.formats.UserException where the text is too short, the models do not share a
    ///   vocabulary, or a model cannot be run
    /// @throws FormatException where a file is broken
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the job closes them
    public Step.Plan prepare(EvalSpec spec) {
        Job job = new Job(spec);
        try {
            job.prepare();
            job.bytes();
            return job;
        } catch (RuntimeException e) {
            job.close();
            throw e;
        }
    }

    /// One evaluation, at once.
    public EvalResult evaluate(EvalSpec spec) {
        try (Step.Plan job = prepare(spec)) {
            return (EvalResult) job.run();
        }
    }

    /// One evaluation on its way through the text.
    private final class Job implements Step.Plan {
        private EvalSpec spec;
        private final ModelRun model;
        private final BaseFiles bases;
        private ModelRun original;

        /// Ids that count, the first of both models.
        private int vocabulary;

        private ScoredWindows windows;

        /// The whole text as a base holds it; null where none is written.
        private int[] text;

        private TokenFigures figures;
        private Portions portions;
        private int done;
        private boolean closed;

        @MustBeClosed
        @SuppressWarnings("MustBeClosed") // closed by close()
        Job(EvalSpec spec) {
            this.bases = new BaseFiles(spec);
            try {
                this.spec = bases.resolve(spec);
                this.model = new ModelRun(models, spec.model(), backend, progress);
            } catch (RuntimeException e) {
                bases.close();
                throw e;
            }
        }

        @SuppressWarnings("MustBeClosed") // closed by close()
        void prepare() {
            vocabulary = model.spec().vocabulary();
            if (spec.against() != null) {
                original = new ModelRun(models, spec.against(), backend, progress);
                vocabulary =
                        CommonVocabulary.of(
                                model.checkpoint(),
                                vocabulary,
                                original.checkpoint(),
                                original.spec().vocabulary(),
                                progress);
            }
            bases.requireVocabulary(vocabulary, spec.model());
            model.requirePositions(spec.window());
            if (original != null) {
                original.requirePositions(spec.window());
            }
            windows = windows();
            windows.requireBelow(vocabulary, spec.model());
            bases.requireRoom(shape());
            figures = new TokenFigures(windows.rows(), original != null || bases.compares());
        }

        private ScoredWindows windows() {
            if (bases.compares()) {
                return bases.windows(spec, model.checkpoint());
            }
            EvalRehearsal rehearsal = new EvalRehearsal(backend, original != null);
            try (HeadStart _ = new HeadStart(model, rehearsal, spec.window(), memory);
                    Tokenizer tokenizer = Tokenizer.open(model.checkpoint())) {
                int[] ids = TextFiles.tokens(spec.data(), tokenizer);
                if (spec.saveKldBase() != null) {
                    text = ScoredWindows.begun(ids, tokenizer.bos());
                }
                return ScoredWindows.of(ids, spec, tokenizer.bos());
            }
        }

        private KldShape shape() {
            return new KldShape(spec.window(), vocabulary, windows.count());
        }

        private EvalMemory memory() {
            List<ModelRun> models = original == null ? List.of(model) : List.of(model, original);
            boolean copies = spec.saveKldBase() != null || spec.kldBase() != null;
            var work = new EvalMemory.Work(models, windows.count(), spec.window(), copies);
            return EvalMemory.within(memory, work, backend);
        }

        @Override
        public long bytes() {
            return fixed == null ? memory().bytes() : 0;
        }

        @Override
        public Optional<Estimate> estimate() {
            EvalRehearsal rehearsal = new EvalRehearsal(backend, original != null);
            int rows = memory().portions().pieceRows(model.spec().vocabulary());
            Estimate own = rehearsal.estimate(model, windows, rows);
            return Optional.of(
                    original == null ? own : own.plus(rehearsal.estimate(original, windows, rows)));
        }

        @Override
        public void close() {
            if (!closed) {
                closed = true;
                model.close();
                if (original != null) {
                    original.close();
                }
                bases.close();
            }
        }

        @Override
        public Step.Outcome run() {
            portions = fixed == null ? memory().portions() : fixed;
            int hidden = model.spec().width();
            int steps = model.steps() + 1;
            if (original != null) {
                hidden = Math.max(hidden, original.spec().width());
                steps += original.steps();
            }
            int perBatch = portions.batchWindows(hidden, spec.window());
            bases.begin(backend, portions.pieceRows(model.spec().vocabulary()), shape(), text);
            progress.begin("evaluate", (long) Math.ceilDiv(windows.count(), perBatch) * steps);
            for (int from = 0; from < windows.count(); from += perBatch) {
                batch(windows.range(from, Math.min(windows.count(), from + perBatch)));
            }
            bases.finish();
            progress.end();
            return result();
        }

        private void batch(ScoredWindows batch) {
            if (original != null) {
                original.stream(batch, progress);
            }
            model.stream(batch, progress);
            int[] targets = batch.targets();
            int rows = portions.pieceRows(model.spec().vocabulary());
            long bytes = bytes(model, rows) + (original == null ? 0 : bytes(original, rows));
            try (TensorArena arena = backend.newArena(bytes);
                    Arena host = Arena.ofConfined()) {
                MemorySegment buffer = host.allocate(4L * rows, 4);
                Head.inPieces(
                        targets.length,
                        rows,
                        arena,
                        (from, to, scratch) -> piece(scratch, targets, from, to, buffer));
            }
            done += targets.length;
            progress.advance(1, "logits");
        }

        private static long bytes(ModelRun run, int rows) {
            return Head.bytes(run.checkpoint(), run.spec(), rows);
        }

        private void piece(
                TensorArena arena, int[] targets, int from, int to, MemorySegment buffer) {
            Tensor wanted = Rows.upload(backend, arena, targets, from, to - from, buffer);
            Tensor ours = model.logits(arena, from, to, vocabulary);
            model.losses(arena, ours, wanted, buffer, figures.losses, done + from);
            bases.take(backend, ours, targets, from, figures, done + from);
            if (original != null) {
                Tensor theirs = original.logits(arena, from, to, vocabulary);
                original.losses(arena, theirs, wanted, buffer, figures.originalLosses, done + from);
                compare(arena, ours, theirs, buffer, done + from);
            }
        }

        private void compare(
                TensorArena arena, Tensor ours, Tensor theirs, MemorySegment buffer, int at) {
            Shape rows = new Shape(ours.rows());
            Tensor divergence = arena.allocate(DType.F32, rows);
            backend.run(new LossOp.Divergence(divergence, theirs, ours));
            Rows.download(backend, divergence, buffer, figures.divergences, at);
            Tensor best = arena.allocate(DType.I32, rows);
            backend.run(new LossOp.ArgMax(best, ours));
            int[] ourBest = Rows.download(backend, best, buffer);
            Tensor originalBest = arena.allocate(DType.I32, rows);
            backend.run(new LossOp.ArgMax(originalBest, theirs));
            int[] theirBest = Rows.download(backend, originalBest, buffer);
            for (int i = 0; i < ourBest.length; i++) {
                figures.agree(ourBest[i] == theirBest[i]);
            }
        }

        private EvalResult result() {
            return new EvalResult(
                    spec,
                    windows.count(),
                    figures.losses.length,
                    measured(model, figures.losses),
                    original == null ? null : measured(original, figures.originalLosses),
                    figures.comparison(),
                    EvalDetail.of(windows, figures));
        }

        private static Measured measured(ModelRun run, float[] losses) {
            Perplexity p = Perplexity.of(losses);
            return new Measured(
                    p.value(),
                    p.valueError(),
                    p.loss(),
                    run.tokensPerSecond(),
                    SizeReport.of(run.checkpoint()));
        }
    }
}
