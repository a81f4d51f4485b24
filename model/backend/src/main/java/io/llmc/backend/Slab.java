// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.DType;
import io.llmc.tensor.Lifetime;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;

/// Stack allocation over one device allocation; the same code serves the CPU and CUDA.
public final class Slab implements TensorArena {
    private static final long ALIGN = 256;

    /// How a backend names a piece of its one allocation, and how it frees it.
    public interface Memory {
        Buffer slice(long offset, long bytes, Lifetime lifetime);

        String device();

        long capacity();

        void free();
    }

    private final Memory memory;
    private final Slab parent;
    private final Lifetime lifetime = new Lifetime();
    private long top;
    private boolean lent;

    public Slab(Memory memory) {
        this(memory, null, 0);
    }

    private Slab(Memory memory, Slab parent, long top) {
        this.memory = memory;
        this.parent = parent;
        this.top = top;
    }

    @Override
    public Tensor allocate(DType dtype, Shape shape) {
        if (lent)
            throw new IllegalStateException(
                    "close the scratch scope before allocating from its parent");
        if (!lifetime.isAlive()) throw new IllegalStateException("the arena is closed");
        long bytes = shape.size() * dtype.bytes();
        if (top + bytes > memory.capacity()) {
            throw new OutOfDeviceMemoryException(
                    "an arena of " + memory.device(),
                    bytes,
                    memory.capacity() - top,
                    memory.capacity());
        }
        Tensor t = new Tensor(memory.slice(top, bytes, lifetime), 0, dtype, shape);
        top += Math.ceilDiv(bytes, ALIGN) * ALIGN;
        return t;
    }

    @Override
    @MustBeClosed
    public TensorArena scratch() {
        if (lent) throw new IllegalStateException("a scratch scope is already open");
        lent = true;
        return new Slab(memory, this, top);
    }

    @Override
    public void close() {
        lifetime.end();
        if (parent == null) memory.free();
        else parent.lent = false;
    }
}
