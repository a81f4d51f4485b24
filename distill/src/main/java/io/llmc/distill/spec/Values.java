// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import io.llmc.backend.Backend;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.util.Random;

/// Numbers that tensors begin and end with.
public final class Values {
    private Values() {}

    /// Uniform between plus and minus the inverse root of the number of columns.
    public static void randomize(Tensor t, long seed, Backend backend) {
        try (Arena host = backend.host().newArena()) {
            MemorySegment values = host.allocate(t.byteSize(), 64);
            Random random = new Random(seed);
            double bound = 1 / Math.sqrt(t.cols());
            for (long i = 0; i < t.shape().size(); i++) {
                float v = (float) (bound * (2 * random.nextDouble() - 1));
                values.setAtIndex(ValueLayout.JAVA_FLOAT, i, v);
            }
            backend.upload(t, values);
        }
    }

    /// A copy in host memory, each value rounded to the nearest.
    public static Tensor convert(Tensor t, DType type, SegmentAllocator memory) {
        long n = t.shape().size();
        MemorySegment to = memory.allocate(Math.max(1, type.bytesFor(n)), 64);
        to = to.asSlice(0, type.bytesFor(n));
        for (long i = 0; i < n; i++) {
            Floats.set(to, type, i, Floats.get(t.bytes(), t.dtype(), i));
        }
        return Tensor.of(to, type, t.shape().dims());
    }
}
