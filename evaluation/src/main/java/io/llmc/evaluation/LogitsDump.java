// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.TensorFileWriter;
import io.llmc.model.arch.Models;
import io.llmc.model.language.Head;
import io.llmc.pipeline.Progress;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/// A model's logits for given token ids, as a file: what any other implementation can be compared
/// with.
public final class LogitsDump {
    private static final String IDS = "input_ids";
    private static final int MAX_IDS = 1 << 27;
    private static final ValueLayout.OfLong I64 =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt I32 =
            ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final Models models;
    private final Backend backend;
    private final Progress progress;
    private final long memory;

    /// Null where they follow from the memory cap.
    private final Portions fixed;

    /// @param backend where the model runs
    /// @param memory bytes outside the Java heap at most; `Long.MAX_VALUE` for no cap
    public LogitsDump(Models models, Backend backend, Progress progress, long memory) {
        this(models, backend, progress, memory, null);
    }

    LogitsDump(Backend backend, Progress progress, Portions portions) {
        this(Models.AS_THEY_SAY, backend, progress, Long.MAX_VALUE, portions);
    }

    private LogitsDump(
            Models models, Backend backend, Progress progress, long memory, Portions fixed) {
        this.models = models;
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
        try (ModelRun run = new ModelRun(models, model, backend, progress)) {
            ScoredWindows all = ScoredWindows.allRows(ids);
            int vocabulary = run.spec().vocabulary();
            all.requireBelow(vocabulary, model);
            if (run.spec().positionEmbedding() != null) {
                run.requirePositions(ids.length());
            }
            Portions portions = fixed == null ? memory(run, ids).portions() : fixed;
            int perBatch = portions.batchWindows(run.spec().width(), ids.length());
            progress.begin(
                    "logits", (long) Math.ceilDiv(ids.count(), perBatch) * (run.steps() + 1));
            try (TensorFileWriter out = create(output, ids, vocabulary)) {
                for (int from = 0; from < ids.count(); from += perBatch) {
                    ScoredWindows batch = all.range(from, Math.min(ids.count(), from + perBatch));
                    run.stream(batch, progress);
                    write(run, batch.rows(), portions, out);
                    progress.advance(1, "logits");
                }
                out.force();
                out.finish();
            } catch (IOException e) {
                throw new UserException(
                        "cannot write %s: %s".formatted(output, e),
                        "check the free space of that disk and that you may write there");
            }
            progress.end();
        }
    }

    /// Bytes outside the Java heap that [#run] takes.
    ///
    /// @throws UserException where not even the least keeps the cap
    public long bytes(Path model, Path inputIds) {
        Windows ids = readIds(inputIds);
        try (ModelRun run = new ModelRun(models, model, backend, progress)) {
            return memory(run, ids).bytes();
        }
    }

    private EvalMemory memory(ModelRun run, Windows ids) {
        var work = new EvalMemory.Work(List.of(run), ids.count(), ids.length(), true);
        return EvalMemory.within(memory, work, backend);
    }

    private static Windows readIds(Path file) {
        try (Checkpoint c = Checkpoint.ofFile(file);
                TensorReader reader = c.reader()) {
            if (!c.has(IDS)) {
                throw new FormatException(file, "has no tensor '%s'".formatted(IDS));
            }
            TensorInfo info = c.info(IDS);
            if (info.dtype() != DType.I64 && info.dtype() != DType.I32) {
                throw new FormatException(
                        file,
                        "'%s' is of type %s, expected I64 or I32".formatted(IDS, info.dtype()));
            }
            Shape shape = info.shape();
            if (shape.rank() != 2 || shape.size() < 1 || shape.size() > MAX_IDS) {
                throw new FormatException(
                        file,
                        "'%s' has shape %s, expected [batch, tokens] of up to %,d ids"
                                .formatted(IDS, shape, MAX_IDS));
            }
            return Windows.of(ids(file, reader.tensor(IDS)), Math.toIntExact(shape.dim(1)));
        }
    }

    private static int[] ids(Path file, Tensor tensor) {
        if (tensor.dtype() == DType.I32) {
            return tensor.bytes().toArray(I32);
        }
        long[] values = tensor.bytes().toArray(I64);
        int[] ids = new int[values.length];
        for (int i = 0; i < ids.length; i++) {
            if (values[i] != (int) values[i]) {
                throw new FormatException(
                        file, "'%s' holds %d, which is no token id".formatted(IDS, values[i]));
            }
            ids[i] = (int) values[i];
        }
        return ids;
    }

    @MustBeClosed
    private static TensorFileWriter create(Path file, Windows ids, long vocabulary)
            throws IOException {
        Shape shape = new Shape(ids.count(), ids.length(), vocabulary);
        long bytes = DType.F32.bytesFor(shape.size());
        long free = Files.getFileStore(file.toAbsolutePath().getParent()).getUsableSpace();
        if (free > 0 && free < bytes) {
            throw new UserException(
                    "%s: %,d bytes needed, %,d free on this disk".formatted(file, bytes, free),
                    "give fewer ids, or name an output on another disk");
        }
        // Spaces in the shape, which other safetensors files of llmc have not.
        String header =
                "{\"__metadata__\":{\"format\":\"pt\"},\"logits\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%d]}}"
                        .formatted(shape, bytes);
        return TensorFileWriter.create(file, header, bytes);
    }

    private void write(ModelRun run, int rows, Portions portions, TensorFileWriter out)
            throws IOException {
        int vocabulary = run.spec().vocabulary();
        int piece = portions.pieceRows(vocabulary);
        try (TensorArena arena = backend.newArena(Head.bytes(run.checkpoint(), run.spec(), piece));
                Arena host = backend.host().newArena()) {
            MemorySegment copy = host.allocate(4L * piece * vocabulary, 64);
            Head.inPieces(
                    rows,
                    piece,
                    arena,
                    (from, to, scratch) -> {
                        Tensor logits = run.logits(scratch, from, to, vocabulary);
                        MemorySegment bytes = copy.asSlice(0, logits.byteSize());
                        backend.download(bytes, logits);
                        out.append(bytes);
                    });
        }
    }
}
