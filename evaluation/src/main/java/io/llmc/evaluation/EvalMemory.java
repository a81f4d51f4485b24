// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.backend.Backend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.language.Head;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.StreamMemory;
import java.util.List;

/// How much of a text is worked on at a time so that an evaluation keeps a memory cap, and what it
/// then takes outside the Java heap. Figures do not depend on it.
///
/// @param bytes at the worst moment, in whole MiB
record EvalMemory(Portions portions, long bytes) {
    private static final long SLACK = 1 << 16;

    /// What an evaluation does that takes memory.
    ///
    /// @param models one, or two whose predictions are compared
    /// @param windows of the text
    /// @param length tokens of a window
    /// @param copies whether logits are copied to the host as well
    record Work(List<ModelRun> models, int windows, int length, boolean copies) {
        Work(List<ModelRun> models, int windows, int length) {
            this(models, windows, length, false);
        }
    }

    /// @throws io.llmc.formats.UserException where not even the smallest portions keep the cap
    static EvalMemory within(long cap, Work work, Backend backend) {
        return within(cap, work, backend, "{window}");
    }

    /// @param setting that makes windows shorter
    static EvalMemory within(long cap, Work work, Backend backend, String setting) {
        List<ModelRun> models = work.models;
        int hidden = models.stream().mapToInt(m -> m.spec().width()).max().orElseThrow();
        int vocabulary = models.stream().mapToInt(m -> m.spec().vocabulary()).max().orElseThrow();
        Portions most = Portions.within(Long.MAX_VALUE, backend.room());
        int batch = Math.min(work.windows, most.batchWindows(hidden, work.length));
        int rows = most.pieceRows(vocabulary);
        EvalMemory found = of(batch, rows, work, backend);
        // Fewer windows a batch read the model more often, fewer rows a piece only the head.
        while (found.bytes > cap && rows > Head.MIN_ROWS) {
            rows = Math.max(Head.MIN_ROWS, rows / 2);
            found = of(batch, rows, work, backend);
        }
        while (found.bytes > cap && batch > 1) {
            batch /= 2;
            found = of(batch, rows, work, backend);
        }
        ByteSize.requireWithin(cap, found.bytes, work.length > 2 ? "lower " + setting : "");
        return found;
    }

    private static EvalMemory of(int batch, int rows, Work work, Backend backend) {
        long outer = 0;
        long finals = 0;
        long passes = 0;
        long logits = 0;
        long kernels = 0;
        int vocabulary = 0;
        int widest = 0;
        for (ModelRun m : work.models) {
            Checkpoint c = m.checkpoint();
            ModelSpec spec = m.spec();
            StreamMemory s = StreamMemory.of(c, spec, backend, batch, work.length);
            outer += s.outer();
            // The residual stream, which is all that there is between blocks; then, too, what the
            // head reads of it, which is copied out a chunk at a time.
            long stream = 4L * batch * work.length * spec.width();
            long chunk = Math.min(stream, 4L * HiddenStates.chunkRows(work.length) * spec.width());
            finals += stream + 64;
            passes =
                    Math.max(
                            passes,
                            s.pass() - s.kernels() + Math.max(s.block(), stream + chunk + SLACK));
            logits += Head.bytes(c, spec, rows);
            logits += work.copies ? 4L * rows * spec.vocabulary() : 0;
            long head = backend.kernelBytes(rows, spec.vocabulary(), spec.hidden());
            kernels = Math.max(kernels, Math.max(head, s.kernels()));
            vocabulary = Math.max(vocabulary, spec.vocabulary());
            widest = Math.max(widest, spec.hidden());
        }
        // What kernels hold stays.
        long bytes = outer + finals + Math.max(passes, logits) + kernels + SLACK;
        return new EvalMemory(
                new Portions(4L * widest * work.length * batch, 1, 4L * vocabulary * rows, rows),
                ByteSize.roundUp(bytes));
    }
}
