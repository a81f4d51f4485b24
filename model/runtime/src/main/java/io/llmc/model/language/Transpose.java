// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// Turns matrices on the host, for families that store linear weights as `[in, out]`.
public final class Transpose {
    /// Rows and columns of a tile: both its sides stay in the first cache.
    private static final int TILE = 32;

    private Transpose() {}

    /// `[a, b]` as `[b, a]`, in new memory.
    public static Tensor of(Tensor x, SegmentAllocator memory) {
        int bytes = x.dtype().bytes();
        MemorySegment from = x.bytes();
        MemorySegment to = memory.allocate(x.byteSize(), 64);
        for (long r0 = 0; r0 < x.rows(); r0 += TILE) {
            for (long c0 = 0; c0 < x.cols(); c0 += TILE) {
                for (long r = r0; r < Math.min(x.rows(), r0 + TILE); r++) {
                    for (long c = c0; c < Math.min(x.cols(), c0 + TILE); c++) {
                        MemorySegment.copy(
                                from,
                                (r * x.cols() + c) * bytes,
                                to,
                                (c * x.rows() + r) * bytes,
                                bytes);
                    }
                }
            }
        }
        return Tensor.of(to, x.dtype(), x.cols(), x.rows());
    }
}
