// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel.MapMode;

/// A tensor and the open file that it lies in.
record Place(SafetensorsHeader.Entry entry, OpenFile file) {
    private static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /// The bytes, read-only, for as long as `arena` lives: mapped, or rounded to F32 where the file
    /// has F64.
    MemorySegment map(Arena arena) {
        file.requireWhole();
        try {
            MemorySegment bytes =
                    file.channel().map(MapMode.READ_ONLY, entry.offset(), entry.bytes(), arena);
            return entry.bytes() == entry.info().byteSize() ? bytes : rounded(bytes, arena);
        } catch (IOException e) {
            throw Json.unreadable(file.path(), e);
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
    Place called(String name) {
        DType dtype = entry.info().dtype() == DType.F64 ? DType.F32 : entry.info().dtype();
        TensorInfo info = new TensorInfo(name, dtype, entry.info().shape());
        return new Place(new SafetensorsHeader.Entry(info, entry.offset(), entry.bytes()), file);
    }
}
