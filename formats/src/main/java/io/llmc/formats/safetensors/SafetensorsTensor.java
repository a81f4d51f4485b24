// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// A tensor of a safetensors file.
///
/// @param info may have another name than in the file, and F32 where the file has F64
record SafetensorsTensor(TensorInfo info, SafetensorsHeader.Entry entry, OpenFile file)
        implements StoredTensor {
    private static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    @Override
    public long bytes() {
        return entry.bytes();
    }

    @Override
    public boolean isMapped() {
        return info.dtype() == entry.info().dtype();
    }

    @Override
    public MemorySegment read(Arena arena) {
        if (isMapped()) {
            return file.map(entry.offset(), entry.bytes(), arena);
        }
        try (Arena doubles = Arena.ofConfined()) {
            return rounded(file.map(entry.offset(), entry.bytes(), doubles), arena);
        }
    }

    private static MemorySegment rounded(MemorySegment doubles, Arena arena) {
        MemorySegment floats = arena.allocate(doubles.byteSize() / 2, Long.BYTES);
        for (long i = 0; i < doubles.byteSize() / Double.BYTES; i++) {
            floats.setAtIndex(FLOAT, i, (float) doubles.getAtIndex(DOUBLE, i));
        }
        return floats.asReadOnly();
    }

    /// Under another name; what is F64 is read as F32, as nothing computes in more.
    SafetensorsTensor called(String name) {
        DType dtype = info.dtype() == DType.F64 ? DType.F32 : info.dtype();
        return new SafetensorsTensor(new TensorInfo(name, dtype, info.shape()), entry, file);
    }
}
