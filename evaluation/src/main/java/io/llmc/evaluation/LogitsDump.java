// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/// A model's logits for given token ids, as a file: what any other implementation can be compared
/// with.
public final class LogitsDump {
    private final Backend backend;
    private final Progress progress;
    private final long memory;

    /// Null where they follow from the memory cap.
    private final Portions fixed;

    /// @param backend where the model runs
    /// @param memory bytes outside the Java heap at most; `Long.MAX_VALUE` for no cap
    public LogitsDump(Backend backend, Progress progress, long memory) {
        this(backend, progress, memory, null);
    }

    LogitsDump(Backend backend, Progress progress, Portions portions) {
        this(backend, progress, Long.MAX_VALUE, portions);
    }

    private LogitsDump(Backend backend, Progress progress, long memory, Portions fixed) {
        this.backend = backend;
        this.progress = progress;
        this.memory = memory;
        this.fixed = fixed;
    }

    /// Reads tensor `input_ids`, I64 or I32 `[batch, tokens]`, and writes tensor `logits`, F32
    /// `[batch, tokens, vocabulary]`. Neither the model nor the logits are ever whole in memory;
    /// the output gets its name once it is whole.
    ///
    /// @throws FormatException where the input is not such a file
    /// @throws UserException where an id is outside of the vocabulary, or the output cannot be
    ///   written
    public void run(Path model, Path inputIds, Path output) {
        Windows ids = readIds(inputIds);
        try (ModelRun run = new ModelRun(model, backend, progress)) {
            ScoredWindows all = ScoredWindows.allRows(ids);
            int vocabulary = run.spec().vocabulary();
            all.requireBelow(vocabulary, model);
            if (run.spec().positionEmbedding() != null) {
                run.requirePositions(ids.length());
            }
            Portions portions =
                    fixed == null
                            ? EvalMemory.within(
                                            memory,
                                            List.of(run),
                                            ids.count(),
                                            ids.length(),
                                            backend)
                                    .portions()
                            : fixed;
            int perBatch = portions.batchWindows(run.spec().hidden(), ids.length());
            progress.begin(
                    "logits", (long) Math.ceilDiv(ids.count(), perBatch) * (run.steps() + 1));
            try (SafetensorsOutput out =
                    SafetensorsOutput.create(
                            output, "logits", DType.F32, ids.count(), ids.length(), vocabulary)) {
                for (int from = 0; from < ids.count(); from += perBatch) {
                    ScoredWindows batch = all.range(from, Math.min(ids.count(), from + perBatch));
                    run.stream(batch, progress);
                    write(run, batch.rows(), portions, out);
                    progress.advance(1, "logits");
                }
                out.finish();
            }
            progress.end();
        }
    }

    /// Bytes outside the Java heap that [#run] takes.
    ///
    /// @throws UserException where not even the least keeps the cap
    public long bytes(Path model, Path inputIds) {
        Windows ids = readIds(inputIds);
        try (ModelRun run = new ModelRun(model, backend, progress)) {
            return EvalMemory.within(memory, List.of(run), ids.count(), ids.length(), backend)
                    .bytes();
        }
    }

    private static Windows readIds(Path file) {
        SafetensorsInput.Tensor ids = SafetensorsInput.read(file, "input_ids");
        long[] shape = ids.shape();
        if (shape.length != 2 || shape[0] < 1 || shape[1] < 1) {
            throw new FormatException(
                    file,
                    "'input_ids' has shape %s, expected [batch, tokens]"
                            .formatted(Arrays.toString(shape)));
        }
        return Windows.of(ids.toInts(), Math.toIntExact(shape[1]));
    }

    private void write(ModelRun run, int rows, Portions portions, SafetensorsOutput out) {
        int piece = portions.pieceRows(run.spec().vocabulary());
        try (TensorArena arena = backend.newArena(run.bytes(piece));
                Arena host = backend.host().newArena()) {
            MemorySegment copy = host.allocate(4L * piece * run.spec().vocabulary(), 64);
            for (int from = 0; from < rows; from += piece) {
                try (TensorArena scratch = arena.scratch()) {
                    Tensor logits =
                            run.logits(
                                    scratch,
                                    from,
                                    Math.min(piece, rows - from),
                                    run.spec().vocabulary());
                    MemorySegment bytes = copy.asSlice(0, logits.byteSize());
                    backend.download(bytes, logits);
                    out.append(bytes);
                }
            }
        }
    }
}
