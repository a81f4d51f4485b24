// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.FormatException;
import io.llmc.formats.OpenFile;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.zip.CRC32C;

/// A safetensors file that a run has kept for a later one: hidden states, a state of training, what
/// a survey has found. See [TensorFileWriter#keep].
public final class TensorFile implements AutoCloseable {
    /// CRC-32C of all bytes before it.
    static final TensorInfo SUM = TensorInfo.of("crc32c", DType.U32, 1);

    private static final int PIECE = 1 << 20;

    private final OpenFile in;
    private final SafetensorsHeader header;

    private TensorFile(OpenFile in, SafetensorsHeader header) {
        this.in = in;
        this.header = header;
    }

    /// Looks at every byte.
    ///
    /// @return null where there is no file, or one that is not what was written
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public static TensorFile whole(Path file) throws IOException {
        OpenFile in;
        try {
            in = OpenFile.of(file);
        } catch (NoSuchFileException e) {
            return null;
        }
        try {
            TensorFile kept = new TensorFile(in, SafetensorsHeader.read(file, in.channel()));
            if (kept.isWhole()) {
                return kept;
            }
            in.close();
            return null;
        } catch (FormatException e) {
            in.close();
            return null;
        }
    }

    private boolean isWhole() throws IOException {
        var last = header.tensors().lastEntry();
        if (last == null || !last.getValue().info().equals(SUM)) {
            return false;
        }
        long end = last.getValue().offset();
        CRC32C crc = new CRC32C();
        ByteBuffer piece = ByteBuffer.allocate((int) Math.min(PIECE, end));
        for (long at = 0; at < end; at += PIECE) {
            crc.update(fill(piece.clear().limit((int) Math.min(PIECE, end - at)), at));
        }
        return fill(ByteBuffer.allocate(SUM.dtype().bytes()), end)
                .equals(TensorFileWriter.sum(crc));
    }

    private ByteBuffer fill(ByteBuffer bytes, long from) throws IOException {
        while (bytes.hasRemaining()) {
            if (in.channel().read(bytes, from + bytes.position()) < 0) {
                in.requireWhole();
                throw new EOFException("a file became shorter while it was read");
            }
        }
        return bytes.flip();
    }

    /// Writes tensors for others to read, and reads them back.
    ///
    /// @param tensors in host memory
    /// @throws FormatException where what is read differs
    public static void publish(Path file, SequencedMap<String, Tensor> tensors) throws IOException {
        List<TensorInfo> plan = new ArrayList<>();
        tensors.forEach((name, t) -> plan.add(new TensorInfo(name, t.dtype(), t.shape())));
        try (TensorFileWriter writer = TensorFileWriter.create(file, plan)) {
            for (Tensor t : tensors.values()) {
                writer.append(t.bytes());
            }
            writer.force();
            writer.finish();
        }
        OpenFile in = OpenFile.of(file);
        try (TensorFile written = new TensorFile(in, SafetensorsHeader.read(file, in.channel()))) {
            if (!written.tensors().equals(plan)) {
                throw new FormatException(
                        file,
                        "read back, it does not hold the tensors that were written; please report"
                                + " this");
            }
            for (TensorInfo info : plan) {
                written.requireSame(info.name(), tensors.get(info.name()));
            }
        }
    }

    private void requireSame(String name, Tensor wanted) throws IOException {
        try (Arena memory = Arena.ofConfined()) {
            if (tensor(name, memory).bytes().mismatch(wanted.bytes()) >= 0) {
                throw new FormatException(
                        in.path(),
                        "read back, tensor %s is not what was written; check the disk and try again"
                                .formatted(name));
            }
        }
    }

    /// In the order in which they were written.
    public List<TensorInfo> tensors() {
        return header.tensors().values().stream()
                .map(SafetensorsHeader.Entry::info)
                .filter(t -> !t.equals(SUM))
                .toList();
    }

    public Map<String, String> metadata() {
        return header.metadata();
    }

    /// Fills a segment from byte `at` of a tensor on.
    ///
    /// @throws FormatException where the file became shorter since it was opened
    public void read(String name, long at, MemorySegment to) throws IOException {
        fill(to.asByteBuffer(), header.tensors().get(name).offset() + at);
    }

    /// A copy of a tensor in host memory.
    public Tensor tensor(String name, Arena memory) throws IOException {
        TensorInfo info = header.tensors().get(name).info();
        MemorySegment bytes = memory.allocate(info.byteSize(), 64);
        read(name, 0, bytes);
        return Tensor.of(bytes, info.dtype(), info.shape().dims());
    }

    @Override
    public void close() {
        in.close();
    }
}
