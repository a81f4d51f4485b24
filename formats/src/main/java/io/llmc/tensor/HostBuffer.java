// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.lang.foreign.MemorySegment;

/// Host bytes: a slice of an arena's slab, or of a memory-mapped checkpoint (then read-only).
public record HostBuffer(MemorySegment segment, Lifetime lifetime) implements Buffer {
    /// Bytes whose life is that of the segment's own arena, as a mapped file's.
    public HostBuffer(MemorySegment segment) {
        this(segment, new Lifetime());
    }

    @Override
    public String device() {
        return "cpu";
    }

    @Override
    public long byteSize() {
        return segment.byteSize();
    }

    @Override
    public boolean isAlive() {
        return lifetime.isAlive() && segment.scope().isAlive();
    }
}
