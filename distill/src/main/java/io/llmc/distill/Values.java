// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// Tensors in host memory under other float types.
final class Values {
    private Values() {}

    /// A copy, each value rounded to the nearest.
    static Tensor convert(Tensor t, DType type, SegmentAllocator memory) {
        long n = t.shape().size();
        MemorySegment to = memory.allocate(Math.max(1, type.bytesFor(n)), 64);
        to = to.asSlice(0, type.bytesFor(n));
        for (long i = 0; i < n; i++) {
            Floats.set(to, type, i, Floats.get(t.bytes(), t.dtype(), i));
        }
        return Tensor.of(to, type, t.shape().dims());
    }
}
