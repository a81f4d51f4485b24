// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.teacher;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.Sha256;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/// Writes `tokens.bin` and `logits.bin`, window after window, and goes on behind the last window
/// that is whole.
///
/// A window is its rows and the CRC-32C of its token ids and rows.
public final class CacheWriter implements AutoCloseable {
    private final CacheRow row;
    private final int[] ids;
    private final int length;
    private final FileChannel out;
    private final ByteBuffer window;
    private int done;

    /// @param ids whole windows
    @MustBeClosed
    public CacheWriter(Path directory, CacheRow row, int[] ids, int length) throws IOException {
        this.row = row;
        this.ids = ids;
        this.length = length;
        this.window =
                ByteBuffer.allocate(Math.toIntExact(length * row.bytes() + Integer.BYTES))
                        .order(ByteOrder.LITTLE_ENDIAN);
        writeTokens(directory, ids);
        this.out =
                FileChannel.open(
                        directory.resolve(CacheHeader.LOGITS),
                        StandardOpenOption.CREATE,
                        StandardOpenOption.READ,
                        StandardOpenOption.WRITE);
        while (done < ids.length / length && isWhole(done)) {
            done++;
        }
    }

    private static void writeTokens(Path directory, int[] ids) throws IOException {
        Path half = directory.resolve(CacheHeader.TOKENS + ".tmp");
        try (FileChannel tokens =
                FileChannel.open(
                        half,
                        StandardOpenOption.CREATE,
                        StandardOpenOption.TRUNCATE_EXISTING,
                        StandardOpenOption.WRITE)) {
            for (int from = 0; from < ids.length; from += CHUNK) {
                put(tokens, bytes(ids, from, Math.min(CHUNK, ids.length - from)));
            }
            tokens.force(true);
        }
        Files.move(half, directory.resolve(CacheHeader.TOKENS), StandardCopyOption.ATOMIC_MOVE);
    }

    private boolean isWhole(int number) throws IOException {
        window.clear();
        long at = (long) number * window.capacity();
        while (window.hasRemaining()) {
            if (out.read(window, at + window.position()) < 0) {
                return false;
            }
        }
        int sum = window.getInt(window.capacity() - Integer.BYTES);
        return sum == checksum(window, ids, number, length);
    }

    /// Of a window's token ids and rows.
    ///
    /// @param window rows from the first byte on, and four bytes more
    static int checksum(ByteBuffer window, int[] ids, int number, int length) {
        CRC32C crc = new CRC32C();
        crc.update(bytes(ids, number * length, length));
        crc.update(window.duplicate().position(0).limit(window.capacity() - Integer.BYTES));
        return (int) crc.getValue();
    }

    /// Windows that earlier runs have left.
    public int done() {
        return done;
    }

    /// Forgets the windows from `count` on.
    public void keep(int count) throws IOException {
        done = Math.min(done, count);
        out.truncate((long) done * window.capacity());
    }

    /// Writes one window more.
    ///
    /// @param top ids and values of `length` rows, from row `from` on
    /// @throws UserException where a value is no number
    public void append(int[] top, float[] values, int from) throws IOException {
        window.clear();
        for (int t = 0; t < length; t++) {
            int at = (from + t) * row.topK();
            if (!Float.isFinite(values[at]) || !Float.isFinite(values[at + row.topK() - 1])) {
                throw new UserException(
                        "the teacher's log-probabilities after token %,d of the text are %s to %s"
                                .formatted(
                                        (long) done * length + t,
                                        values[at + row.topK() - 1],
                                        values[at]),
                        "check the teacher with llmc eval; a smaller {topK} leaves out tokens that it rules out");
            }
            row.encode(window, top, values, at);
        }
        window.putInt(checksum(window, ids, done, length));
        window.flip();
        long at = (long) done * window.capacity();
        while (window.hasRemaining()) {
            out.write(window, at + window.position());
        }
        done++;
    }

    public void finish() throws IOException {
        out.force(true);
    }

    private static final int CHUNK = 1 << 20;

    private static ByteBuffer bytes(int[] ids, int from, int count) {
        ByteBuffer bytes =
                ByteBuffer.allocate(Integer.BYTES * count).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asIntBuffer().put(ids, from, count);
        return bytes;
    }

    private static void put(FileChannel file, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            file.write(bytes);
        }
    }

    /// SHA-256 of `tokens.bin`.
    public static String hash(int[] ids, int count) {
        Sha256 sum = new Sha256();
        for (int from = 0; from < count; from += CHUNK) {
            sum.add(bytes(ids, from, Math.min(CHUNK, count - from)));
        }
        return sum.hex();
    }

    @Override
    public void close() {
        try {
            out.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
