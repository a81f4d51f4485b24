// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.backend.Backend;
import io.llmc.model.language.Head;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.pass.StreamMemory;
import java.util.List;

/// How much of a text is worked on at a time so that an evaluation keeps a memory cap, and what it
/// then takes outside the Java heap. Figures do not depend on it.
///
/// @param bytes at the worst moment, in whole MiB
record EvalMemory(Portions portions, long bytes) {
    private static final long SLACK = 1 << 16;

    /// @param models one, or two whose predictions are compared
    /// @param windows of the text
    /// @param length tokens of a window
    /// @throws io.llmc.formats.UserException where not even the smallest portions keep the cap
    static EvalMemory within(
            long cap, List<ModelRun> models, int windows, int length, Backend backend) {
        return within(cap, models, windows, length, backend, "{window}");
    }

    /// @param setting that makes windows shorter
    static EvalMemory within(
            long cap,
            List<ModelRun> models,
            int windows,
            int length,
            Backend backend,
            String setting) {
        int hidden = models.stream().mapToInt(m -> m.spec().hidden()).max().orElseThrow();
        int vocabulary = models.stream().mapToInt(m -> m.spec().vocabulary()).max().orElseThrow();
        Portions most = Portions.within(Long.MAX_VALUE, backend.room());
        int batch = Math.min(windows, most.batchWindows(hidden, length));
        int rows = most.pieceRows(vocabulary);
        EvalMemory found = of(batch, rows, models, length, backend);
        // Fewer windows a batch read the model more often, fewer rows a piece only the head.
        while (found.bytes > cap && rows > Head.MIN_ROWS) {
            rows = Math.max(Head.MIN_ROWS, rows / 2);
            found = of(batch, rows, models, length, backend);
        }
        while (found.bytes > cap && batch > 1) {
            batch /= 2;
            found = of(batch, rows, models, length, backend);
        }
        ByteSize.requireWithin(cap, found.bytes, length > 2 ? "lower " + setting : "");
        return found;
    }

    private static EvalMemory of(
            int batch, int rows, List<ModelRun> models, int length, Backend backend) {
        int hidden = models.stream().mapToInt(m -> m.spec().hidden()).max().orElseThrow();
        int vocabulary = models.stream().mapToInt(m -> m.spec().vocabulary()).max().orElseThrow();
        long outer = 0;
        long stream = 0;
        long finals = 0;
        long logits = 0;
        long kernels = 0;
        for (ModelRun m : models) {
            StreamMemory s = StreamMemory.of(m.checkpoint(), m.spec(), backend, batch, length);
            outer += s.outer();
            stream = Math.max(stream, s.block() + s.pass() + s.states() + s.spill());
            finals += 4L * batch * length * m.spec().hidden() + 64;
            // A dump copies them once more.
            logits +=
                    Head.bytes(m.checkpoint(), m.spec(), rows) + 4L * rows * m.spec().vocabulary();
            kernels =
                    Math.max(
                            kernels,
                            backend.kernelBytes(rows, m.spec().vocabulary(), m.spec().hidden()));
        }
        // What the kernels of the pass hold stays.
        long bytes = outer + finals + stream + logits + kernels + SLACK;
        return new EvalMemory(
                new Portions(4L * hidden * length * batch, 1, 4L * vocabulary * rows, rows),
                ByteSize.roundUp(bytes));
    }
}
