// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// One number a row, between arrays and a device.
final class Rows {
    private Rows() {}

    /// @param buffer native memory of 4 bytes a row at least
    static Tensor upload(
            Backend backend,
            TensorArena arena,
            int[] values,
            int from,
            int rows,
            MemorySegment buffer) {
        MemorySegment.copy(values, from, buffer, ValueLayout.JAVA_INT, 0, rows);
        Tensor t = arena.allocate(DType.I32, new Shape(rows));
        backend.upload(t, buffer.asSlice(0, 4L * rows));
        return t;
    }

    static void download(Backend backend, Tensor t, MemorySegment buffer, float[] out, int at) {
        backend.download(buffer.asSlice(0, t.byteSize()), t);
        MemorySegment.copy(buffer, ValueLayout.JAVA_FLOAT, 0, out, at, (int) t.rows());
    }

    static int[] download(Backend backend, Tensor t, MemorySegment buffer) {
        backend.download(buffer.asSlice(0, t.byteSize()), t);
        return buffer.asSlice(0, t.byteSize()).toArray(ValueLayout.JAVA_INT);
    }
}
