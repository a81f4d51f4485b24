// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.MemoryBudget;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.safetensors.TensorFile;
import io.llmc.formats.safetensors.TensorFileWriter;
import io.llmc.model.Stage.Activations;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// Activations of chunks between stages: in the memory that the backend computes in, in host memory
/// where a device lacks the room, or, under a memory cap, in one file a chunk.
final class ChunkStore implements AutoCloseable {
    private final List<Backend> lanes;
    private final Path directory;
    private final String name;
    private final boolean resident;
    private final List<Chunk> chunks = new ArrayList<>();

    /// What a chunk holds now: the residual stream, then what is kept beside it. There are no slots
    /// where chunks lie on disk.
    private final class Chunk {
        private final Backend backend;
        private final List<Slot> slots = new ArrayList<>();
        private List<Shape> shapes = List.of();

        Chunk(Backend backend) {
            this.backend = backend;
        }

        Slot slot(int i) {
            while (slots.size() <= i) {
                slots.add(resident ? new Slot.OnDevice(backend) : new Slot.OnHost(backend));
            }
            return slots.get(i);
        }

        /// A tensor that came from one slot may go on in the place of another, as the input of a
        /// block whose branches are parallel does: the slots change places, before one is
        /// overwritten with what comes before it.
        void save(List<Tensor> tensors) {
            for (int i = 0; i < tensors.size(); i++) {
                slot(i);
                for (int j = 0; j < slots.size(); j++) {
                    if (slots.get(j).holds(tensors.get(i))) {
                        Collections.swap(slots, i, j);
                    }
                }
            }
            for (int i = 0; i < tensors.size(); i++) {
                slot(i).save(tensors.get(i));
            }
        }
    }

    private ChunkStore(List<Backend> lanes, Path directory, String name, boolean resident) {
        this.lanes = lanes;
        this.directory = directory;
        this.name = name;
        this.resident = resident;
    }

    /// @param lanes the devices that chunks belong to, in turn
    /// @param directory null to keep chunks in memory
    /// @param name of the files there, which no other store of the directory may have
    /// @param resident keep them in the device's own memory
    static ChunkStore in(List<Backend> lanes, Path directory, String name, boolean resident) {
        return new ChunkStore(lanes, directory, name, resident && directory == null);
    }

    boolean resident() {
        return resident;
    }

    void save(int index, Activations a) {
        List<Tensor> tensors = new ArrayList<>();
        tensors.add(a.x());
        tensors.addAll(a.kept());
        Chunk chunk = chunk(index);
        chunk.shapes = tensors.stream().map(Tensor::shape).toList();
        if (directory == null) {
            chunk.save(tensors);
            return;
        }
        try (Arena host = host().newArena()) {
            long total = tensors.stream().mapToLong(Tensor::byteSize).sum();
            MemorySegment bytes = host.allocate(total, 64);
            copyIn(chunk.backend, tensors, bytes);
            write(spillFile(index), bytes);
        }
    }

    /// What [#save] was given. In memory that the backend computes in, the store's own bytes, valid
    /// until the next save of this chunk: no operation writes what it reads.
    Activations load(int index, TensorArena arena) {
        Chunk chunk = chunk(index);
        List<Tensor> tensors = new ArrayList<>();
        if (directory == null) {
            for (int i = 0; i < chunk.shapes.size(); i++) {
                tensors.add(chunk.slot(i).load(chunk.shapes.get(i), arena));
            }
        } else {
            chunk.shapes.forEach(shape -> tensors.add(arena.allocate(DType.F32, shape)));
            try (Arena host = host().newArena()) {
                long total = tensors.stream().mapToLong(Tensor::byteSize).sum();
                MemorySegment bytes = host.allocate(total, 64);
                read(spillFile(index), bytes);
                copyOut(chunk.backend, tensors, bytes);
            }
        }
        return new Activations(tensors.getFirst(), tensors.subList(1, tensors.size()));
    }

    private MemoryBudget host() {
        return lanes.getFirst().host();
    }

    private Chunk chunk(int index) {
        while (chunks.size() <= index) {
            chunks.add(new Chunk(lanes.get(chunks.size() % lanes.size())));
        }
        return chunks.get(index);
    }

    private Path spillFile(int index) {
        return directory.resolve(name + "-" + index + ".spill");
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

    /// The residual streams of all chunks, a tensor each.
    void saveTo(Path file, int count) {
        List<TensorInfo> plan = new ArrayList<>();
        for (int c = 0; c < count; c++) {
            plan.add(info(c, chunk(c).shapes.getFirst()));
        }
        try (TensorFileWriter out = TensorFileWriter.keep(file, Map.of(), plan)) {
            for (int c = 0; c < count; c++) {
                long size = plan.get(c).byteSize();
                try (Arena host = host().newArena()) {
                    out.append(
                            directory == null
                                    ? chunk(c).slot(0).bytes(size, host)
                                    : read(spillFile(c), host.allocate(size, 64)));
                }
            }
            out.finish();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static TensorInfo info(int chunk, Shape shape) {
        return new TensorInfo("chunk." + chunk, DType.F32, shape);
    }

    /// Looks at the whole file before it changes a chunk.
    ///
    /// @param shapes of each chunk's residual stream
    /// @return false where the file is not the whole of these chunks
    boolean restore(Path file, List<Shape> shapes) {
        List<TensorInfo> plan =
                IntStream.range(0, shapes.size()).mapToObj(c -> info(c, shapes.get(c))).toList();
        try (TensorFile saved = TensorFile.whole(file)) {
            if (saved == null || !saved.tensors().equals(plan)) {
                return false;
            }
            for (int c = 0; c < shapes.size(); c++) {
                try (Arena host = host().newArena()) {
                    MemorySegment bytes = saved.tensor(plan.get(c).name(), host).bytes();
                    Chunk chunk = chunk(c);
                    chunk.shapes = List.of(shapes.get(c));
                    if (directory == null) {
                        chunk.slot(0).restore(bytes, shapes.get(c));
                    } else {
                        write(spillFile(c), bytes);
                    }
                }
            }
            return true;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void write(Path file, MemorySegment bytes) {
        try (FileChannel channel =
                FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            ByteBuffer buffer = bytes.asByteBuffer();
            while (buffer.hasRemaining()) {
                channel.write(buffer);
            }
        } catch (IOException e) {
            throw new UserException(
                    "cannot write " + file + ": " + e.getMessage(),
                    "free disk space, or raise {memory}");
        }
    }

    private static MemorySegment read(Path file, MemorySegment bytes) {
        try (FileChannel channel = FileChannel.open(file)) {
            ByteBuffer buffer = bytes.asByteBuffer();
            while (buffer.hasRemaining()) {
                if (channel.read(buffer) < 0) {
                    throw new IOException("ended at byte " + buffer.position());
                }
            }
            return bytes;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        for (int c = 0; c < chunks.size(); c++) {
            chunks.get(c).slots.forEach(Slot::close);
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
