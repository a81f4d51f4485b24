package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.model.Stage.Activations;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32C;

/// Activations of chunks between stages, in host memory or, under a memory cap, in one file a chunk.
final class ChunkStore implements AutoCloseable {
    private static final long MAGIC = 0x6c6c6d6368696464L;

    private final Path directory;
    private final List<Chunk> chunks = new ArrayList<>();

    /// One chunk's tensors one after the other in `bytes`, or in a file where that is null.
    private static final class Chunk {
        private Arena arena;
        private MemorySegment bytes;
        private List<Shape> shapes = List.of();
    }

    private ChunkStore(Path directory) {
        this.directory = directory;
    }

    static ChunkStore inMemory() {
        return new ChunkStore(null);
    }

    static ChunkStore onDisk(Path directory) {
        return new ChunkStore(directory);
    }

    void save(Backend backend, int index, Activations a) {
        List<Tensor> tensors = new ArrayList<>();
        tensors.add(a.x());
        tensors.addAll(a.kept());
        Chunk chunk = chunk(index);
        chunk.shapes = tensors.stream().map(Tensor::shape).toList();
        long total = tensors.stream().mapToLong(Tensor::byteSize).sum();
        if (directory == null) {
            reserve(chunk, total);
            copyIn(backend, tensors, chunk.bytes);
            return;
        }
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(total, 64);
            copyIn(backend, tensors, bytes);
            write(spillFile(index), bytes);
        }
    }

    Activations load(Backend backend, int index, TensorArena arena) {
        Chunk chunk = chunk(index);
        List<Tensor> tensors =
                chunk.shapes.stream().map(shape -> arena.allocate(DType.F32, shape)).toList();
        if (directory == null) {
            copyOut(backend, tensors, chunk.bytes);
        } else {
            try (Arena host = Arena.ofConfined()) {
                long total = tensors.stream().mapToLong(Tensor::byteSize).sum();
                MemorySegment bytes = host.allocate(total, 64);
                read(spillFile(index), 0, bytes);
                copyOut(backend, tensors, bytes);
            }
        }
        return new Activations(tensors.getFirst(), tensors.subList(1, tensors.size()));
    }

    private Chunk chunk(int index) {
        while (chunks.size() <= index) {
            chunks.add(new Chunk());
        }
        return chunks.get(index);
    }

    private Path spillFile(int index) {
        return directory.resolve("hidden-" + index + ".spill");
    }

    @SuppressWarnings("MustBeClosed") // closed by close()
    private static void reserve(Chunk chunk, long bytes) {
        if (chunk.bytes == null || chunk.bytes.byteSize() < bytes) {
            if (chunk.arena != null) {
                chunk.arena.close();
            }
            chunk.arena = Arena.ofShared();
            chunk.bytes = chunk.arena.allocate(bytes, 64);
        }
    }

    private static void copyIn(Backend backend, List<Tensor> tensors, MemorySegment bytes) {
        long at = 0;
        for (Tensor t : tensors) {
            backend.download(bytes.asSlice(at, t.byteSize()), t);
            at += t.byteSize();
        }
    }

    private static void copyOut(Backend backend, List<Tensor> tensors, MemorySegment bytes) {
        long at = 0;
        for (Tensor t : tensors) {
            backend.upload(t, bytes.asSlice(at, t.byteSize()));
            at += t.byteSize();
        }
    }

    /// The residual streams of all chunks with their lengths and checksums, under their final name only
    /// once the file is whole.
    void saveTo(Path file, int count) {
        Path partial = file.resolveSibling(file.getFileName() + ".tmp");
        try (FileChannel channel =
                        FileChannel.open(
                                partial,
                                StandardOpenOption.CREATE,
                                StandardOpenOption.TRUNCATE_EXISTING,
                                StandardOpenOption.WRITE);
                Arena host = Arena.ofConfined()) {
            for (int c = 0; c < count; c++) {
                long size = 4 * chunk(c).shapes.getFirst().size();
                MemorySegment bytes =
                        directory == null
                                ? chunk(c).bytes.asSlice(0, size)
                                : read(spillFile(c), 0, host.allocate(size, 64));
                writeFully(channel, header(size, crc(bytes)));
                writeFully(channel, bytes.asByteBuffer());
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        try {
            Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// @param sizes bytes of each chunk's residual stream
    /// @return false where the file is not the whole of these chunks
    @SuppressWarnings("MustBeClosed") // closed here on failure, by close() otherwise
    boolean restore(Path file, List<Long> sizes, int hidden) {
        List<MemorySegment> read = new ArrayList<>();
        List<Arena> arenas = new ArrayList<>();
        long at = 0;
        boolean whole = false;
        try (FileChannel channel = FileChannel.open(file)) {
            for (long size : sizes) {
                if (channel.size() < at + 24 + size) {
                    return false;
                }
                ByteBuffer head = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN);
                channel.read(head, at);
                Arena arena = Arena.ofShared();
                arenas.add(arena);
                MemorySegment bytes = arena.allocate(size, 64);
                readFully(channel, at + 24, bytes);
                if (head.getLong(0) != MAGIC || head.getLong(8) != size || head.getLong(16) != crc(bytes)) {
                    return false;
                }
                read.add(bytes);
                at += 24 + size;
            }
            whole = true;
        } catch (NoSuchFileException e) {
            return false;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } finally {
            if (!whole) {
                arenas.forEach(Arena::close);
            }
        }
        for (int c = 0; c < read.size(); c++) {
            Chunk chunk = chunk(c);
            chunk.shapes = List.of(new Shape(sizes.get(c) / 4 / hidden, hidden));
            if (directory == null) {
                chunk.arena = arenas.get(c);
                chunk.bytes = read.get(c);
            } else {
                write(spillFile(c), read.get(c));
                arenas.get(c).close();
            }
        }
        return true;
    }

    private static ByteBuffer header(long size, long crc) {
        return ByteBuffer.allocate(24)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(0, MAGIC)
                .putLong(8, size)
                .putLong(16, crc);
    }

    private static long crc(MemorySegment bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes.asByteBuffer());
        return crc.getValue();
    }

    private static void write(Path file, MemorySegment bytes) {
        try (FileChannel channel =
                FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            channel.position(0);
            writeFully(channel, bytes.asByteBuffer());
        } catch (IOException e) {
            throw new UserException(
                    "cannot write " + file + ": " + e.getMessage(), "free disk space, or raise --memory");
        }
    }

    private static MemorySegment read(Path file, long from, MemorySegment bytes) {
        try (FileChannel channel = FileChannel.open(file)) {
            readFully(channel, from, bytes);
            return bytes;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void writeFully(FileChannel channel, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    private static void readFully(FileChannel channel, long from, MemorySegment bytes) throws IOException {
        ByteBuffer buffer = bytes.asByteBuffer();
        long at = from;
        while (buffer.hasRemaining()) {
            int n = channel.read(buffer, at);
            if (n < 0) {
                throw new IOException("ended at byte " + at);
            }
            at += n;
        }
    }

    @Override
    public void close() {
        for (int c = 0; c < chunks.size(); c++) {
            if (chunks.get(c).arena != null) {
                chunks.get(c).arena.close();
            }
            if (directory != null) {
                try {
                    Files.deleteIfExists(spillFile(c));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }
    }
}
