// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.gguf.GgufHeader.Entry;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// A tensor of a GGUF file.
///
/// @param info under the hub's name; blocks as the F32 values that they stand for
/// @param interleaved heads whose rows are in llama.cpp's order; 0 where the rows lie as on the hub
record GgufTensor(TensorInfo info, Entry entry, OpenFile file, int interleaved)
        implements StoredTensor {
    private static final ValueLayout.OfShort F16 =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat F32 =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    @Override
    public boolean isMapped() {
        return interleaved == 0 && !entry.type().isBlocks();
    }

    @Override
    public MemorySegment read(Arena arena) {
        if (isMapped()) {
            return file.map(entry.offset(), entry.bytes(), arena);
        }
        MemorySegment out = arena.allocate(info.byteSize(), Long.BYTES);
        long rows = info.shape().dim(0);
        try (Arena mapping = Arena.ofConfined()) {
            MemorySegment in = file.map(entry.offset(), entry.bytes(), mapping);
            for (long row = 0; row < rows; row++) {
                MemorySegment to = slice(out, row, rows);
                MemorySegment from = slice(in, stored(row, rows), rows);
                if (entry.type().isBlocks()) {
                    dequantize(to, from);
                } else {
                    to.copyFrom(from);
                }
            }
        }
        return out.asReadOnly();
    }

    private static MemorySegment slice(MemorySegment tensor, long row, long rows) {
        long bytes = tensor.byteSize() / rows;
        return tensor.asSlice(row * bytes, bytes);
    }

    /// Where the file has a row. The hub's models turn dimension `i` of a head with `i + d/2`,
    /// llama.cpp turns neighbours, so that its converter puts row `j * d/2 + i` to `2 * i + j`.
    private long stored(long row, long rows) {
        if (interleaved == 0) {
            return row;
        }
        long head = rows / interleaved;
        long half = head / 2;
        long inside = row % head;
        return row - inside + 2 * (inside % half) + inside / half;
    }

    /// A row of Q8_0: `d * q`, exact in F32, since an F16 has 11 bits and a byte 8.
    private static void dequantize(MemorySegment to, MemorySegment from) {
        int block = GgufType.Q8_0.bytes();
        int elements = GgufType.Q8_0.elements();
        for (long at = 0, i = 0; at < from.byteSize(); at += block) {
            float scale = Float.float16ToFloat(from.get(F16, at));
            for (int j = 0; j < elements; j++) {
                to.setAtIndex(F32, i++, scale * from.get(ValueLayout.JAVA_BYTE, at + 2 + j));
            }
        }
    }
}
