// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
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

/// A safetensors file of one tensor, written from front to back; it has its name only once it is
/// whole.
final class SafetensorsOutput implements AutoCloseable {
    private final Path file;
    private final Path partial;
    private final FileChannel channel;
    private long missing;

    private SafetensorsOutput(Path file, Path partial, FileChannel channel, long missing) {
        this.file = file;
        this.partial = partial;
        this.channel = channel;
        this.missing = missing;
    }

    /// @throws UserException where the file cannot be created, or the disk has no room for it
    static SafetensorsOutput create(Path file, String name, DType dtype, long... dims) {
        long bytes = dtype.bytesFor(new Shape(dims).size());
        Path partial = file.resolveSibling(file.getFileName() + ".tmp");
        try {
            requireSpace(file, bytes);
            FileChannel channel =
                    FileChannel.open(
                            partial,
                            StandardOpenOption.CREATE,
                            StandardOpenOption.TRUNCATE_EXISTING,
                            StandardOpenOption.WRITE);
            SafetensorsOutput out = new SafetensorsOutput(file, partial, channel, bytes);
            try {
                out.write(header(name, dtype, dims, bytes));
                return out;
            } catch (IOException e) {
                out.close();
                throw e;
            }
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    private static void requireSpace(Path file, long bytes) throws IOException {
        Path directory = file.toAbsolutePath().getParent();
        long free = Files.getFileStore(directory).getUsableSpace();
        if (free > 0 && free < bytes) {
            throw new UserException(
                    "%s: %,d bytes needed, %,d free on this disk".formatted(file, bytes, free),
                    "give fewer ids, or name an output on another disk");
        }
    }

    private static ByteBuffer header(String name, DType dtype, long[] dims, long bytes) {
        String json =
                "{\"__metadata__\":{\"format\":\"pt\"},\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[0,%d]}}"
                        .formatted(name, dtype, new Shape(dims), bytes);
        byte[] text = json.getBytes(StandardCharsets.UTF_8);
        int padded = Math.ceilDiv(text.length, 8) * 8;
        ByteBuffer header = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN);
        header.putLong(padded).put(text);
        while (header.hasRemaining()) {
            header.put((byte) ' ');
        }
        return header.flip();
    }

    /// The next bytes of the tensor.
    void append(MemorySegment bytes) {
        if (bytes.byteSize() > missing) {
            throw new IllegalStateException(
                    bytes.byteSize() + " bytes, but " + missing + " are left");
        }
        missing -= bytes.byteSize();
        try {
            write(bytes.asByteBuffer());
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    private void write(ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    /// Gives the file its name, in the place of what had it.
    void finish() {
        if (missing != 0) {
            throw new IllegalStateException(missing + " bytes are missing");
        }
        try {
            channel.force(true);
            channel.close();
            Files.move(
                    partial,
                    file,
                    StandardCopyOption.ATOMIC_MOVE,
                    StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    private static UserException unwritable(Path file, IOException e) {
        return new UserException(
                "cannot write %s: %s".formatted(file, e),
                "check the free space of that disk and that you may write there");
    }

    /// Leaves nothing where [#finish] was not reached.
    @Override
    public void close() {
        try {
            channel.close();
            Files.deleteIfExists(partial);
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }
}
