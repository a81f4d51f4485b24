// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.evaluation.SharedInputs.Input;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Models;
import io.llmc.model.language.Head;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// How likely a model finds continuations: whole inputs go through its blocks in batches of about
/// one length, the longest first.
///
/// Inputs are filled up at their ends to the length of their batch's longest. What stands there
/// changes nothing to its left; but where the angles of a model's positions depend on the length of
/// the input, a batch has one length only.
public final class Likelihoods implements AutoCloseable {
    /// Fewer would not be multiplied at full speed, or not be worth bringing all blocks to a
    /// device.
    private static final int MIN_ROWS = 2048;

    private static final int MIN_DEVICE_ROWS = 8192;

    /// The shortest input of a batch, in tenths of the longest.
    private static final int TENTHS = 9;

    private final Backend backend;
    private final Progress progress;
    private final ModelRun run;
    private List<Continuation> wanted = List.of();
    private List<LikelihoodBatch> batches = List.of();
    private long memory;

    /// Opens a model, and looks at its headers alone.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public Likelihoods(Models models, Path model, Backend backend, Progress progress) {
        this.backend = backend;
        this.progress = progress;
        this.run = new ModelRun(models, model, backend, progress);
    }

    public Checkpoint checkpoint() {
        return run.checkpoint();
    }

    public ModelSpec spec() {
        return run.spec();
    }

    /// What will be asked, cut into batches.
    ///
    /// @param cap bytes outside the Java heap at most
    /// @throws UserException where not even the smallest batches keep the cap, or an id is none of
    ///   the model's
    public void prepare(List<Continuation> continuations, long cap) {
        requireKnown(continuations);
        wanted = continuations;
        memory = cap;
        batches = new ArrayList<>();
        List<Input> left = SharedInputs.of(continuations, !spec().dependsOnLength());
        while (!left.isEmpty()) {
            List<Input> next = left.subList(0, together(left));
            batches.add(LikelihoodBatch.of(next, continuations));
            left = left.subList(next.size(), left.size());
        }
    }

    /// How many of the first inputs make a batch.
    private int together(List<Input> inputs) {
        int longest = inputs.getFirst().length();
        int most = memory(inputs.size(), longest).portions().batchWindows(spec().width(), longest);
        int enough = backend.sharesHostMemory() ? MIN_ROWS : MIN_DEVICE_ROWS;
        int count = 1;
        while (count < Math.min(most, inputs.size())) {
            int next = inputs.get(count).length();
            boolean full = (long) count * longest >= enough && 10 * next < TENTHS * longest;
            if (full || spec().dependsOnLength() && next < longest) {
                break;
            }
            count++;
        }
        return count;
    }

    private EvalMemory memory(int windows, int length) {
        var work = new EvalMemory.Work(List.of(run), windows, length);
        return EvalMemory.within(memory, work, backend, "{maxLength}");
    }

    private void requireKnown(List<Continuation> continuations) {
        for (Continuation c : continuations) {
            requireKnown(c.input());
            requireKnown(c.targets());
        }
    }

    private void requireKnown(int[] ids) {
        for (int id : ids) {
            if (id < 0 || id >= spec().vocabulary()) {
                throw new UserException(
                        "token id %d is outside of the vocabulary of %s: 0 to %,d"
                                .formatted(id, checkpoint().directory(), spec().vocabulary() - 1),
                        "the tokenizer must be the one that belongs to the model");
            }
        }
    }

    /// Bytes outside the Java heap that the work takes.
    public long bytes() {
        return batches.stream()
                .mapToLong(b -> memory(b.count(), b.length()).bytes())
                .max()
                .orElse(0);
    }

    /// Steps of progress that [#run] reports.
    public int steps() {
        return batches.size() * (run.steps() + 1);
    }

    /// The answers, by index of what was asked.
    public Likelihood[] run() {
        Likelihood[] answers = new Likelihood[wanted.size()];
        for (LikelihoodBatch batch : batches) {
            run.stream(batch.windows(), progress);
            answer(batch, answers);
            progress.advance(1, "logits");
        }
        return answers;
    }

    private void answer(LikelihoodBatch batch, Likelihood[] answers) {
        int rows = memory(batch.count(), batch.length()).portions().pieceRows(spec().vocabulary());
        float[][] losses = new float[batch.targets().length][batch.rows()];
        int[] best = new int[batch.rows()];
        try (TensorArena arena = backend.newArena(Head.bytes(checkpoint(), spec(), rows));
                Arena host = Arena.ofConfined()) {
            MemorySegment buffer = host.allocate(4L * rows, 4);
            Head.inPieces(
                    batch.rows(),
                    rows,
                    arena,
                    (from, to, scratch) -> {
                        Tensor logits = run.logits(scratch, from, to, spec().vocabulary());
                        System.arraycopy(best(scratch, logits, buffer), 0, best, from, to - from);
                        for (int layer = 0; layer < losses.length; layer++) {
                            int[] targets = batch.targets()[layer];
                            losses(scratch, logits, targets, from, buffer, losses[layer]);
                        }
                    });
        }
        batch.answer(losses, best, wanted, answers);
    }

    private int[] best(TensorArena arena, Tensor logits, MemorySegment buffer) {
        try (TensorArena scratch = arena.scratch()) {
            Tensor best = scratch.allocate(DType.I32, new Shape(logits.rows()));
            backend.run(new LossOp.ArgMax(best, logits));
            return Rows.download(backend, best, buffer);
        }
    }

    private void losses(
            TensorArena arena,
            Tensor logits,
            int[] targets,
            int from,
            MemorySegment buffer,
            float[] out) {
        try (TensorArena scratch = arena.scratch()) {
            int rows = (int) logits.rows();
            Tensor ids = Rows.upload(backend, scratch, targets, from, rows, buffer);
            run.losses(scratch, logits, ids, buffer, out, from);
        }
    }

    @Override
    public void close() {
        run.close();
    }
}
