// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.formats.OpenFile;
import io.llmc.tensor.Tensor;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.CRC32C;

/// Where a training run is: what it needs to go on as if nothing had happened.
///
/// @param step done
/// @param best least loss on the held-out windows so far; infinite before the first
/// @param since measurements without a better one
/// @param log one JSON object a step
record TrainState(int step, double best, int since, List<String> log) {
    private static final ObjectMapper JSON = new ObjectMapper();

    /// Bytes of the buffer that tensors go through.
    static final int CHUNK = 1 << 20;

    private static final Pattern SAVED =
            Pattern.compile("(train-state|best-weights|block).*\\.bin(\\.tmp)?");

    static TrainState beginning() {
        return new TrainState(0, Double.POSITIVE_INFINITY, 0, new ArrayList<>());
    }

    private record Head(int step, String best, int since, List<String> log) {}

    /// One file: a line of JSON, the tensors one after another, their CRC-32C. It takes the old
    /// one's place when it is whole.
    void save(Path file, Student student) {
        save(file, tensors(student, true), student);
    }

    private void save(Path file, List<Tensor> tensors, Student student) {
        try {
            Head head = new Head(step, Double.toHexString(best), since, log);
            write(file, JSON.writeValueAsBytes(head), tensors, student);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    /// Keeps the weights without the optimizer's states: the best so far, or a finished block.
    void saveWeights(Path file, Student student) {
        save(file, tensors(student, false), student);
    }

    /// @return null where there is no whole file
    static TrainState restore(Path file, Student student) {
        return state(read(file, tensors(student, true), student));
    }

    /// @return null where there is no whole file
    static TrainState restoreWeights(Path file, Student student) {
        return state(read(file, tensors(student, false), student));
    }

    private static TrainState state(byte[] head) {
        if (head == null) {
            return null;
        }
        try {
            Head h = JSON.readValue(head, Head.class);
            return new TrainState(
                    h.step, Double.parseDouble(h.best), h.since, new ArrayList<>(h.log));
        } catch (IOException e) {
            return null;
        }
    }

    /// Deletes what runs have saved in a working directory: whatever a run saves is one of these,
    /// whole or cut short.
    static void delete(Path work) {
        try (Stream<Path> files = Files.list(work)) {
            for (Path file : files.toList()) {
                if (SAVED.matcher(file.getFileName().toString()).matches()) {
                    Files.delete(file);
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static List<Tensor> tensors(Student student, boolean all) {
        return student.trained().values().stream()
                .flatMap(p -> {
                    Stream<Tensor> values = Stream.of(p.values());
                    return all ? Stream.concat(values, p.adam().tensors().stream()) : values;
                })
                .toList();
    }

    private static void write(Path file, byte[] head, List<Tensor> tensors, Student student) {
        Backend backend = student.model().backend();
        Path half = file.resolveSibling(file.getFileName() + ".tmp");
        try (FileChannel out =
                        FileChannel.open(
                                half,
                                StandardOpenOption.CREATE,
                                StandardOpenOption.TRUNCATE_EXISTING,
                                StandardOpenOption.WRITE);
                Arena memory = backend.host().newArena()) {
            CRC32C crc = new CRC32C();
            MemorySegment buffer = memory.allocate(CHUNK, 64);
            put(out, crc, ByteBuffer.allocate(4).putInt(0, head.length));
            put(out, crc, ByteBuffer.wrap(head));
            for (Tensor t : tensors) {
                for (Tensor part : parts(t)) {
                    MemorySegment host = buffer.asSlice(0, part.byteSize());
                    backend.download(host, part);
                    put(out, crc, host.asByteBuffer());
                }
            }
            out.write(ByteBuffer.allocate(8).putLong(0, crc.getValue()));
            out.force(true);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        try {
            Files.move(half, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void put(FileChannel out, CRC32C crc, ByteBuffer bytes) throws IOException {
        crc.update(bytes.duplicate());
        while (bytes.hasRemaining()) {
            out.write(bytes);
        }
    }

    /// A tensor in pieces that fit the buffer.
    private static List<Tensor> parts(Tensor t) {
        long all = t.shape().size();
        Tensor flat = t.reshape(all, 1);
        List<Tensor> parts = new ArrayList<>();
        for (long from = 0; from < all; from += CHUNK / 4) {
            parts.add(flat.rows(from, Math.min(all, from + CHUNK / 4)));
        }
        return parts;
    }

    /// Checks the whole file before it changes a tensor.
    private static byte[] read(Path file, List<Tensor> tensors, Student student) {
        if (!Files.exists(file)) {
            return null;
        }
        Backend backend = student.model().backend();
        try (OpenFile in = OpenFile.of(file)) {
            return read(in, tensors, backend);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static byte[] read(OpenFile in, List<Tensor> tensors, Backend backend)
            throws IOException {
        try (Arena memory = backend.host().newArena()) {
            long weights = tensors.stream().mapToLong(Tensor::byteSize).sum();
            if (in.bytes() < 12 + weights) {
                return null;
            }
            long body = in.bytes() - 8;
            CRC32C crc = new CRC32C();
            MemorySegment buffer = memory.allocate(CHUNK, 64);
            for (long at = 0; at < body; at += CHUNK) {
                crc.update(read(in, at, buffer.asSlice(0, Math.min(CHUNK, body - at))));
            }
            if (read(in, body, buffer.asSlice(0, 8)).getLong() != crc.getValue()) {
                return null;
            }
            int length = read(in, 0, buffer.asSlice(0, 4)).getInt();
            if (length < 0 || 4L + length + weights != body) {
                return null;
            }
            byte[] head = read(in, 4, MemorySegment.ofArray(new byte[length])).array();
            long at = 4L + length;
            for (Tensor t : tensors) {
                for (Tensor part : parts(t)) {
                    MemorySegment host = buffer.asSlice(0, part.byteSize());
                    read(in, at, host);
                    backend.upload(part, host);
                    at += part.byteSize();
                }
            }
            return head;
        }
    }

    /// Fills a segment from a place in a file.
    ///
    /// @throws io.llmc.formats.FormatException where the file became shorter
    private static ByteBuffer read(OpenFile in, long at, MemorySegment to) throws IOException {
        ByteBuffer bytes = to.asByteBuffer();
        while (bytes.hasRemaining()) {
            if (in.channel().read(bytes, at + bytes.position()) < 0) {
                in.requireWhole();
                throw new EOFException("a file became shorter while it was read");
            }
        }
        return bytes.flip();
    }
}
