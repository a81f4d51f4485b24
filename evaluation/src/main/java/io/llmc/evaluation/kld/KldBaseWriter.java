// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.kld;

import com.google.errorprone.annotations.MustBeClosed;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/// Writes a base file as llama.cpp does, from front to back. It has its name only once it is whole.
public final class KldBaseWriter implements AutoCloseable {
    private final Path file;
    private final Path partial;
    private final FileChannel channel;
    private final KldRecord record;
    private final ByteBuffer buffer;
    private long missing;

    private KldBaseWriter(Path file, Path partial, FileChannel channel, KldShape shape) {
        this.file = file;
        this.partial = partial;
        this.channel = channel;
        this.record = new KldRecord(shape.vocabulary());
        this.buffer = ByteBuffer.allocate(Math.toIntExact(shape.recordBytes()));
        this.missing = shape.rows();
    }

    /// @param ids of the text, chunk after chunk, BOS before the text alone
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public static KldBaseWriter create(Path file, KldShape shape, int[] ids) throws IOException {
        Path partial = file.resolveSibling(file.getFileName() + ".tmp");
        FileChannel channel =
                FileChannel.open(
                        partial,
                        StandardOpenOption.CREATE,
                        StandardOpenOption.TRUNCATE_EXISTING,
                        StandardOpenOption.WRITE);
        KldBaseWriter writer = new KldBaseWriter(file, partial, channel, shape);
        try {
            writer.head(shape, ids);
            return writer;
        } catch (IOException e) {
            writer.close();
            throw e;
        }
    }

    private void head(KldShape shape, int[] ids) throws IOException {
        ByteBuffer head =
                ByteBuffer.allocate(Math.toIntExact(shape.recordsAt()))
                        .order(ByteOrder.LITTLE_ENDIAN);
        head.put(KldBase.MAGIC)
                .putInt(shape.context())
                .putInt(shape.vocabulary())
                .putInt(shape.chunks());
        head.asIntBuffer().put(ids, 0, Math.toIntExact(shape.ids()));
        write(head.rewind());
    }

    /// The next row.
    ///
    /// @param logits `[vocabulary]`
    /// @throws IllegalStateException where the file is whole
    public void append(float[] logits) throws IOException {
        if (missing-- == 0) {
            throw new IllegalStateException("more rows than the shape has");
        }
        record.encode(buffer.clear(), logits);
        write(buffer);
    }

    private void write(ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    /// Gives the file its name, in the place of what had it.
    ///
    /// @throws IllegalStateException where rows are missing
    public void finish() throws IOException {
        if (missing != 0) {
            throw new IllegalStateException(missing + " rows are missing");
        }
        channel.force(true);
        channel.close();
        Files.move(
                partial, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }

    /// Leaves nothing where [#finish] was not reached.
    @Override
    public void close() throws IOException {
        channel.close();
        Files.deleteIfExists(partial);
    }
}
