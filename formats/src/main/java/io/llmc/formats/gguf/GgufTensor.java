// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.formats.Dequantizer;
import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.gguf.GgufHeader.Entry;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/// A tensor of a GGUF file.
///
/// @param info under the hub's name; blocks as the values that they stand for, or as bytes
/// @param interleaved heads whose rows are in llama.cpp's order; 0 where the rows lie as on the hub
record GgufTensor(TensorInfo info, Entry entry, OpenFile file, int interleaved)
        implements StoredTensor {
    @Override
    public long bytes() {
        return entry.bytes();
    }

    @Override
    public Optional<BlockType> blocks() {
        return entry.type().blocks();
    }

    @Override
    public StoredTensor packed() {
        long rows = info.shape().dim(0);
        TensorInfo bytes = TensorInfo.of(info.name(), DType.U8, rows, entry.bytes() / rows);
        return new GgufTensor(bytes, entry, file, interleaved);
    }

    private boolean isDequantized() {
        return info.byteSize() != entry.bytes();
    }

    @Override
    public boolean isMapped() {
        return interleaved == 0 && !isDequantized();
    }

    @Override
    public MemorySegment read(Arena arena) {
        if (isMapped()) {
            return file.map(entry.offset(), entry.bytes(), arena);
        }
        MemorySegment out = arena.allocate(info.byteSize(), Long.BYTES);
        try (Arena mapping = Arena.ofConfined()) {
            if (isDequantized()) {
                dequantize(out, packed(), mapping);
            } else {
                reorder(out, file.map(entry.offset(), entry.bytes(), mapping));
            }
        }
        return out.asReadOnly();
    }

    private void dequantize(MemorySegment out, StoredTensor packed, Arena mapping) {
        TensorInfo bytes = packed.info();
        Tensor blocks = Tensor.of(packed.read(mapping), bytes.dtype(), bytes.shape().dims());
        Dequantizer.dequantize(
                Tensor.of(out, info.dtype(), info.shape().dims()),
                new Weight.Blocks(blocks().orElseThrow(), info.shape().dim(1), blocks));
    }

    private void reorder(MemorySegment out, MemorySegment in) {
        long rows = info.shape().dim(0);
        for (long row = 0; row < rows; row++) {
            slice(out, row, rows).copyFrom(slice(in, stored(row, rows), rows));
        }
    }

    private static MemorySegment slice(MemorySegment tensor, long row, long rows) {
        long bytes = tensor.byteSize() / rows;
        return tensor.asSlice(row * bytes, bytes);
    }

    /// Where the file has a row. The hub's models turn dimension `i` of a head with `i + d/2`,
    /// llama.cpp turns neighbours, so that its converter puts row `j * d/2 + i` to `2 * i + j`.
    private long stored(long row, long rows) {
        long head = rows / interleaved;
        long half = head / 2;
        long inside = row % head;
        return row - inside + 2 * (inside % half) + inside / half;
    }
}
