// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.teacher;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.FormatException;
import io.llmc.formats.OpenFile;
import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// A directory with what a teacher said about a text: `cache.json`, its tokenizer, `tokens.bin`
/// (the ids, I32) and `logits.bin` (a [CacheRow] for each token, a CRC-32C behind each window).
///
/// Opening checks all sizes; a window is checked whenever it is read.
public final class TeacherCache implements AutoCloseable {
    private final Path directory;
    private final CacheHeader header;
    private final int[] ids;
    private final OpenFile logits;

    private TeacherCache(Path directory, CacheHeader header, int[] ids, OpenFile logits) {
        this.directory = directory;
        this.header = header;
        this.ids = ids;
        this.logits = logits;
    }

    /// @throws UserException where there is no cache
    /// @throws FormatException where its files do not fit together
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public static TeacherCache open(Path directory) {
        if (!Files.isDirectory(directory)) {
            throw new UserException(
                    directory + ": no such directory",
                    "name a directory that llmc distill --save-teacher has made");
        }
        CacheHeader header = CacheHeader.read(directory);
        try {
            Path tokens = directory.resolve(CacheHeader.TOKENS);
            int[] ids =
                    MemorySegment.ofArray(Files.readAllBytes(tokens))
                            .toArray(
                                    ValueLayout.JAVA_INT_UNALIGNED.withOrder(
                                            ByteOrder.LITTLE_ENDIAN));
            requireIds(tokens, header, ids);
            OpenFile logits = OpenFile.of(directory.resolve(CacheHeader.LOGITS));
            return new TeacherCache(directory, header, ids, logits);
        } catch (IOException e) {
            throw new UserException(
                    "cannot read %s: %s".formatted(directory, e.getMessage()),
                    "check that you may read it");
        }
    }

    private static void requireIds(Path file, CacheHeader header, int[] ids) {
        if (ids.length != header.tokens()
                || !CacheWriter.hash(ids, ids.length).equals(header.idsSha256())) {
            throw new FormatException(
                    file, "is not what cache.json says: save the teacher's predictions again");
        }
        for (int i = 0; i < ids.length; i++) {
            if (ids[i] < 0 || ids[i] >= header.vocabulary()) {
                throw new FormatException(
                        file, 4L * i, "token %d of %d".formatted(ids[i], header.vocabulary()));
            }
        }
    }

    public Path directory() {
        return directory;
    }

    public CacheHeader header() {
        return header;
    }

    /// Of all windows, in order.
    int[] ids() {
        return ids;
    }

    /// What the teacher said in some windows.
    ///
    /// @param ids I32 `[rows, k]`
    /// @param values F32 `[rows, k]`
    /// @param counts of each row's tokens that the student has too, the first of its k; null where
    ///   it has all
    public record Top(Tensor ids, Tensor values, int[] counts) {
        /// Rows `[from, to)` in stretches of as many tokens a row.
        public List<Part> parts(int from, int to) {
            if (counts == null) {
                return List.of(new Part(from, to, ids.rows(from, to), values.rows(from, to)));
            }
            List<Part> parts = new ArrayList<>();
            for (int first = from, end; first < to; first = end) {
                end = first + 1;
                if (counts[first] == ids.cols()) {
                    while (end < to && counts[end] == ids.cols()) {
                        end++;
                    }
                }
                parts.add(new Part(first, end, some(ids, first, end), some(values, first, end)));
            }
            return parts;
        }

        private Tensor some(Tensor t, int first, int end) {
            long k = counts[first];
            long offset = t.byteOffset() + first * t.cols() * t.dtype().bytes();
            return new Tensor(t.buffer(), offset, t.dtype(), new Shape(end - first, k));
        }
    }

    /// Rows of a [Top] with equally many tokens.
    public record Part(int from, int to, Tensor ids, Tensor values) {}

    /// @param vocabulary ids that the student predicts: what the teacher gave to others, which are
    ///   padding, goes to these in proportion
    public Top top(int[] windows, int vocabulary, Backend backend, TensorArena memory) {
        int k = header.topK();
        int length = header.length();
        Shape shape = new Shape((long) windows.length * length, k);
        int[] counts = null;
        Tensor ids = memory.allocate(DType.I32, shape);
        Tensor logs = memory.allocate(DType.F32, shape);
        int[] some = new int[length * k];
        float[] values = new float[some.length];
        try (Arena host = backend.host().newArena()) {
            MemorySegment copy = host.allocate(4L * some.length, 8);
            for (int i = 0; i < windows.length; i++) {
                read(windows[i], some, values);
                int first = i * length;
                if (vocabulary < header.vocabulary()) {
                    counts = counts == null ? new int[windows.length * length] : counts;
                    for (int t = 0; t < length; t++) {
                        counts[first + t] = keep(windows[i], some, values, t * k, vocabulary);
                    }
                }
                MemorySegment.copy(some, 0, copy, ValueLayout.JAVA_INT, 0, some.length);
                backend.upload(ids.rows(first, first + length), copy);
                MemorySegment.copy(values, 0, copy, ValueLayout.JAVA_FLOAT, 0, some.length);
                backend.upload(logs.rows(first, first + length), copy);
            }
        }
        return new Top(ids, logs, counts);
    }

    /// Moves the tokens of a row that are below `vocabulary` to its front.
    ///
    /// @return their number
    private int keep(int window, int[] ids, float[] values, int at, int vocabulary) {
        int kept = 0;
        double lost = 0;
        for (int j = at; j < at + header.topK(); j++) {
            if (ids[j] < vocabulary) {
                ids[at + kept] = ids[j];
                values[at + kept++] = values[j];
            } else {
                lost += StrictMath.exp(values[j]);
            }
        }
        if (kept == 0) {
            throw new UserException(
                    "%s: in window %,d all of the teacher's top %,d tokens are padding"
                            .formatted(directory, window, header.topK()),
                    "save the teacher's predictions again with a higher {topK}, or name the"
                            + " teacher itself");
        }
        double rest = Math.log(Math.max(Double.MIN_NORMAL, 1 - lost));
        for (int j = at; lost > 0 && j < at + kept; j++) {
            values[j] = (float) Math.min(0, values[j] - rest);
        }
        return kept;
    }

    /// One window: k ids and k log-probabilities after each of its tokens.
    ///
    /// @throws FormatException where it is damaged
    void read(int window, int[] top, float[] values) {
        ByteBuffer in = bytes(window).order(ByteOrder.LITTLE_ENDIAN);
        if (in.getInt(in.capacity() - Integer.BYTES)
                != CacheWriter.checksum(in, ids, window, header.length())) {
            throw damaged(window, "its checksum differs");
        }
        try {
            for (int t = 0; t < header.length(); t++) {
                header.row().decode(in, top, values, t * header.topK());
            }
        } catch (IllegalArgumentException e) {
            throw damaged(window, e.getMessage());
        }
    }

    /// As the file has it, which may have become shorter.
    private ByteBuffer bytes(int window) {
        ByteBuffer in = ByteBuffer.allocate(Math.toIntExact(header.windowBytes()));
        try {
            while (in.hasRemaining()) {
                long at = window * header.windowBytes() + in.position();
                if (logits.channel().read(in, at) < 0) {
                    logits.requireWhole();
                    throw damaged(window, "the file ends before it");
                }
            }
            return in.flip();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private FormatException damaged(int window, String why) {
        return new FormatException(
                directory.resolve(CacheHeader.LOGITS),
                "window %,d of %,d is damaged (%s): save the teacher's predictions again"
                        .formatted(window, header.windows(), why));
    }

    /// Reads every window.
    ///
    /// @return the probability that the teacher gives to its top k, on average
    public double verify() {
        int[] top = new int[header.length() * header.topK()];
        float[] values = new float[top.length];
        double sum = 0;
        for (int w = 0; w < header.windows(); w++) {
            read(w, top, values);
            for (float v : values) {
                sum += StrictMath.exp(v);
            }
        }
        return sum / header.tokens();
    }

    /// @throws FormatException where the file became shorter while it was in use
    @Override
    public void close() {
        try (logits) {
            logits.requireWhole();
        }
    }
}
