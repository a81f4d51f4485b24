// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/// A directory with what a teacher said about a text: `cache.json`, its tokenizer, `tokens.bin`
/// (the ids, I32) and `logits.bin` (a [CacheRow] for each token, a CRC-32C behind each window).
///
/// Opening checks all sizes; a window is checked whenever it is read.
final class TeacherCache implements AutoCloseable {
    private final Path directory;
    private final CacheHeader header;
    private final int[] ids;
    private final Arena arena;
    private final MemorySegment logits;

    private TeacherCache(
            Path directory, CacheHeader header, int[] ids, Arena arena, MemorySegment logits) {
        this.directory = directory;
        this.header = header;
        this.ids = ids;
        this.arena = arena;
        this.logits = logits;
    }

    /// @throws UserException where there is no cache
    /// @throws FormatException where its files do not fit together
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    static TeacherCache open(Path directory) {
        if (!Files.isDirectory(directory)) {
            throw new UserException(
                    directory + ": no such directory",
                    "name a directory that llmc distill --save-teacher has made");
        }
        CacheHeader header = CacheHeader.read(directory);
        Arena arena = Arena.ofShared();
        try {
            int[] ids =
                    map(directory.resolve(CacheHeader.TOKENS), arena)
                            .toArray(
                                    ValueLayout.JAVA_INT_UNALIGNED.withOrder(
                                            ByteOrder.LITTLE_ENDIAN));
            requireIds(directory.resolve(CacheHeader.TOKENS), header, ids);
            MemorySegment logits = map(directory.resolve(CacheHeader.LOGITS), arena);
            return new TeacherCache(directory, header, ids, arena, logits);
        } catch (RuntimeException e) {
            arena.close();
            throw e;
        } catch (IOException e) {
            arena.close();
            throw new UserException(
                    "cannot read %s: %s".formatted(directory, e.getMessage()),
                    "check that you may read it");
        }
    }

    private static MemorySegment map(Path file, Arena arena) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            return channel.map(MapMode.READ_ONLY, 0, channel.size(), arena);
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

    Path directory() {
        return directory;
    }

    CacheHeader header() {
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
    record Top(Tensor ids, Tensor values) {}

    /// Bytes that [#top] takes of an arena.
    long bytes(int rows) {
        return 8L * rows * header.topK() + 4096;
    }

    Top top(int[] windows, Backend backend, TensorArena memory) {
        int k = header.topK();
        Shape shape = new Shape((long) windows.length * header.length(), k);
        Top top = new Top(memory.allocate(DType.I32, shape), memory.allocate(DType.F32, shape));
        int[] some = new int[header.length() * k];
        float[] values = new float[some.length];
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocate(4L * some.length, 8);
            for (int i = 0; i < windows.length; i++) {
                read(windows[i], some, values);
                long from = (long) i * header.length();
                MemorySegment.copy(some, 0, copy, ValueLayout.JAVA_INT, 0, some.length);
                backend.upload(top.ids.rows(from, from + header.length()), copy);
                MemorySegment.copy(values, 0, copy, ValueLayout.JAVA_FLOAT, 0, some.length);
                backend.upload(top.values.rows(from, from + header.length()), copy);
            }
        }
        return top;
    }

    /// One window: k ids and k log-probabilities after each of its tokens.
    ///
    /// @throws FormatException where it is damaged
    void read(int window, int[] top, float[] values) {
        long bytes = header.windowBytes();
        ByteBuffer in =
                logits.asSlice(window * bytes, bytes).asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
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

    private FormatException damaged(int window, String why) {
        return new FormatException(
                directory.resolve(CacheHeader.LOGITS),
                "window %,d of %,d is damaged (%s): save the teacher's predictions again"
                        .formatted(window, header.windows(), why));
    }

    /// Reads every window.
    ///
    /// @return the probability that the teacher gives to its top k, on average
    double verify() {
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

    @Override
    public void close() {
        arena.close();
    }
}
