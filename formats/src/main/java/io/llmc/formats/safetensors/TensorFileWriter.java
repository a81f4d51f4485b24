// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.zip.CRC32C;

/// Writes a safetensors file that is no model, from front to back. It has its name only once it is
/// whole.
public final class TensorFileWriter implements AutoCloseable {
    private final Path file;
    private final Path partial;
    private final FileChannel channel;
    private final CRC32C crc = new CRC32C();
    private final boolean summed;
    private long missing;

    private TensorFileWriter(
            Path file, Path partial, FileChannel channel, boolean summed, long missing) {
        this.file = file;
        this.partial = partial;
        this.channel = channel;
        this.summed = summed;
        this.missing = missing;
    }

    /// A file for others to read: these tensors and nothing else, in this order.
    @MustBeClosed
    public static TensorFileWriter create(Path file, List<TensorInfo> tensors) throws IOException {
        return create(file, Shard.header(tensors, Map.of()), bytes(tensors), false);
    }

    /// The same with a header of the caller's.
    ///
    /// @param json what stands before the data
    /// @param bytes of data
    @MustBeClosed
    public static TensorFileWriter create(Path file, String json, long bytes) throws IOException {
        ByteBuffer header = Shard.header(json.getBytes(StandardCharsets.UTF_8));
        return create(file, header, bytes, false);
    }

    /// A file that a run keeps for a later one, which reads it with [TensorFile#whole]: its last
    /// tensor is the checksum of all bytes before it.
    @MustBeClosed
    public static TensorFileWriter keep(
            Path file, Map<String, String> metadata, List<TensorInfo> tensors) throws IOException {
        List<TensorInfo> all = Stream.concat(tensors.stream(), Stream.of(TensorFile.SUM)).toList();
        return create(file, Shard.header(all, metadata), bytes(tensors), true);
    }

    private static long bytes(List<TensorInfo> tensors) {
        return tensors.stream().mapToLong(TensorInfo::byteSize).sum();
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    private static TensorFileWriter create(Path file, ByteBuffer header, long bytes, boolean summed)
            throws IOException {
        Path partial = file.resolveSibling(file.getFileName() + ".tmp");
        FileChannel channel =
                FileChannel.open(
                        partial,
                        StandardOpenOption.CREATE,
                        StandardOpenOption.TRUNCATE_EXISTING,
                        StandardOpenOption.WRITE);
        TensorFileWriter out = new TensorFileWriter(file, partial, channel, summed, bytes);
        try {
            out.write(header);
            return out;
        } catch (IOException e) {
            out.close();
            throw e;
        }
    }

    /// The next bytes of the tensors.
    ///
    /// @throws IllegalStateException where they are more than the tensors have
    public void append(MemorySegment bytes) throws IOException {
        if (bytes.byteSize() > missing) {
            throw new IllegalStateException(
                    bytes.byteSize() + " bytes, but " + missing + " are left");
        }
        missing -= bytes.byteSize();
        for (ByteBuffer chunk : (Iterable<ByteBuffer>) CheckpointWriter.chunks(bytes)::iterator) {
            write(chunk);
        }
    }

    private void write(ByteBuffer bytes) throws IOException {
        if (summed) {
            crc.update(bytes.duplicate());
        }
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    /// Brings what is there to the disk; without it, a file may get its name before its content.
    public void force() throws IOException {
        channel.force(true);
    }

    /// Gives the file its name, in the place of what had it.
    ///
    /// @throws IllegalStateException where bytes are missing
    public void finish() throws IOException {
        if (missing != 0) {
            throw new IllegalStateException(missing + " bytes are missing");
        }
        if (summed) {
            write(sum(crc));
        }
        channel.close();
        Files.move(
                partial, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }

    /// As [TensorFile#SUM] has it.
    static ByteBuffer sum(CRC32C crc) {
        return ByteBuffer.allocate(DType.U32.bytes())
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(0, (int) crc.getValue());
    }

    /// Leaves nothing where [#finish] was not reached.
    @Override
    public void close() throws IOException {
        channel.close();
        Files.deleteIfExists(partial);
    }
}
