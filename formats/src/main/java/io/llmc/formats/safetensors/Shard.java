// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.Json;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;

/// One safetensors file that is being written.
final class Shard implements AutoCloseable {
    /// @param offset of the first byte in the file
    private record Place(TensorInfo info, long offset) {}

    private final Path file;
    private final FileChannel channel;
    private final Map<String, Place> places;
    private final long dataBytes;
    private final boolean reopened;
    private final AtomicBoolean dirty = new AtomicBoolean(true);

    private Shard(
            Path file,
            FileChannel channel,
            Map<String, Place> places,
            long dataBytes,
            boolean reopened) {
        this.file = file;
        this.channel = channel;
        this.places = places;
        this.dataBytes = dataBytes;
        this.reopened = reopened;
    }

    /// @param resume keep the file where its header is the one that would be written
    static Shard open(
            Path file, List<TensorInfo> tensors, Map<String, String> metadata, boolean resume)
            throws IOException {
        List<TensorInfo> order =
                tensors.stream()
                        .sorted(Comparator.comparingInt((TensorInfo t) -> -t.dtype().bits()))
                        .toList();
        ByteBuffer header = header(order, metadata);
        Map<String, Place> places = new LinkedHashMap<>();
        long end = header.limit();
        for (TensorInfo t : order) {
            if (places.put(t.name(), new Place(t, end)) != null) {
                throw new IllegalArgumentException("two tensors are planned as '" + t.name() + "'");
            }
            end += t.byteSize();
        }
        boolean reopened = resume && Files.isRegularFile(file) && startsWith(file, header, end);
        FileChannel channel = channel(file, reopened);
        try {
            if (!reopened) {
                writeFully(channel, header, 0);
                extend(channel, end);
            }
        } catch (IOException e) {
            channel.close();
            throw e;
        }
        return new Shard(file, channel, places, end - header.limit(), reopened);
    }

    private static FileChannel channel(Path file, boolean reopened) throws IOException {
        return reopened
                ? FileChannel.open(file, StandardOpenOption.WRITE)
                : FileChannel.open(
                        file,
                        StandardOpenOption.WRITE,
                        StandardOpenOption.CREATE,
                        StandardOpenOption.TRUNCATE_EXISTING);
    }

    /// The length, then JSON, padded with spaces so that data begins at a multiple of 8.
    static ByteBuffer header(List<TensorInfo> tensors, Map<String, String> metadata) {
        ObjectNode json = Json.object();
        ObjectNode meta = json.putObject("__metadata__");
        // transformers refuses files without it.
        meta.put("format", "pt");
        new TreeMap<>(metadata).forEach(meta::put);
        long offset = 0;
        for (TensorInfo t : tensors) {
            ObjectNode entry = json.putObject(t.name());
            entry.put("dtype", t.dtype().name());
            var dims = entry.putArray("shape");
            Arrays.stream(t.shape().dims()).forEach(dims::add);
            entry.putArray("data_offsets").add(offset).add(offset + t.byteSize());
            offset += t.byteSize();
        }
        return header(Json.compact(json));
    }

    static ByteBuffer header(byte[] text) {
        int padded = Math.ceilDiv(text.length, 8) * 8;
        ByteBuffer header = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN);
        header.putLong(padded).put(text);
        while (header.hasRemaining()) {
            header.put((byte) ' ');
        }
        return header.flip();
    }

    private static boolean startsWith(Path file, ByteBuffer header, long size) throws IOException {
        if (Files.size(file) != size) {
            return false;
        }
        try (var in = Files.newInputStream(file)) {
            return Arrays.equals(in.readNBytes(header.limit()), header.array());
        }
    }

    private static void extend(FileChannel channel, long size) throws IOException {
        if (channel.size() < size) {
            writeFully(channel, ByteBuffer.allocate(1), size - 1);
        }
    }

    private static void writeFully(FileChannel channel, ByteBuffer bytes, long at)
            throws IOException {
        long position = at;
        while (bytes.hasRemaining()) {
            position += channel.write(bytes, position);
        }
    }

    void write(String name, Tensor tensor) {
        require(places.get(name).info, tensor);
        write(name, 0, tensor.bytes());
    }

    static void require(TensorInfo planned, Tensor tensor) {
        if (tensor.dtype() != planned.dtype() || !tensor.shape().equals(planned.shape())) {
            throw new IllegalArgumentException(
                    "%s was planned, but got %s".formatted(planned, tensor));
        }
    }

    /// Writes a part of a tensor.
    ///
    /// @param from its first byte in the tensor
    void write(String name, long from, MemorySegment bytesOfPart) {
        long at = places.get(name).offset + from;
        try {
            for (ByteBuffer chunk :
                    (Iterable<ByteBuffer>) CheckpointWriter.chunks(bytesOfPart)::iterator) {
                int bytes = chunk.remaining();
                writeFully(channel, chunk, at);
                at += bytes;
            }
        } catch (IOException e) {
            throw Json.unwritable(file, e);
        }
        dirty.set(true);
    }

    Set<String> names() {
        return places.keySet();
    }

    String fileName() {
        return file.getFileName().toString();
    }

    long dataBytes() {
        return dataBytes;
    }

    boolean reopened() {
        return reopened;
    }

    void force() {
        if (dirty.getAndSet(false)) {
            try {
                channel.force(true);
            } catch (IOException e) {
                throw Json.unwritable(file, e);
            }
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw Json.unwritable(file, e);
        }
    }
}
