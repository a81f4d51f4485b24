// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

/// Where something is computed: a device, and the memory on it that results go to.
///
/// Who opens a desk by [#scratch] or [#fresh] closes it; one that was handed in belongs to the
/// caller.
public record Desk(Backend backend, TensorArena arena) implements Runner, AutoCloseable {
    @Override
    public void run(Op op) {
        backend.run(op);
    }

    public Tensor allocate(DType dtype, long... dims) {
        return arena.allocate(dtype, new Shape(dims));
    }

    /// F32 `[rows, cols]`, not set to anything.
    public Tensor f32(long rows, long cols) {
        return allocate(DType.F32, rows, cols);
    }

    /// I32 `[values.length]`
    public Tensor ints(int... values) {
        Tensor t = allocate(DType.I32, values.length);
        try (Arena host = backend.host().newOwnArena()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_INT, values));
        }
        return t;
    }

    /// F32 `[values.length]`
    public Tensor floats(float... values) {
        Tensor t = allocate(DType.F32, values.length);
        try (Arena host = backend.host().newOwnArena()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_FLOAT, values));
        }
        return t;
    }

    /// The same device with other memory.
    public Desk in(TensorArena other) {
        return new Desk(backend, other);
    }

    /// Room on the same memory for what is not needed afterwards. Nothing else may be allocated
    /// here until it is closed.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public Desk scratch() {
        return in(arena.scratch());
    }

    /// Memory of its own, zeroed.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public Desk fresh(long bytes) {
        return in(backend.newArena(bytes));
    }

    @Override
    public void close() {
        arena.close();
    }
}
