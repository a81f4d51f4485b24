// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.backend.OutOfDeviceMemoryException;
import io.llmc.backend.Slab;
import io.llmc.formats.MemoryBudget;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.HostBuffer;
import io.llmc.tensor.Lifetime;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/// One allocation of the C library. `calloc` takes large blocks from the system as pages of zeros
/// that exist once they are written, where [Arena#allocate] would write every page first.
final class HostMemory implements Slab.Memory {
    private static final long ALIGN = 256;

    private static final MethodHandle CALLOC =
            handle(
                    "calloc",
                    FunctionDescriptor.of(
                            ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG));
    private static final MethodHandle FREE =
            handle("free", FunctionDescriptor.ofVoid(ValueLayout.ADDRESS));

    /// From so many bytes on segments end with the memory itself. To end a shared scope every
    /// thread of the JVM has to stop, some tenths of a millisecond on a busy machine, and smaller
    /// memory comes and goes with single operations: that its tensors are still alive is looked at
    /// where an operation takes them.
    private static final long SCOPED = 4 << 20;

    /// Null where it is smaller.
    private final Arena arena;

    private final MemorySegment allocation;
    private final MemorySegment slab;
    private final MemoryBudget budget;

    /// Bytes that have been handed out at once, and so may be pages that exist.
    private long touched;

    @SuppressWarnings("MustBeClosed") // closed by free()
    HostMemory(long bytes, MemoryBudget budget) {
        this.budget = budget;
        arena = bytes < SCOPED ? null : Arena.ofShared();
        try {
            allocation = (MemorySegment) CALLOC.invokeExact(bytes + ALIGN, 1L);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall of calloc throws nothing
        }
        if (allocation.address() == 0) {
            end();
            throw new OutOfDeviceMemoryException("cpu", bytes, 0, bytes);
        }
        long skipped = -allocation.address() & (ALIGN - 1);
        MemorySegment start = MemorySegment.ofAddress(allocation.address() + skipped);
        slab = arena == null ? start.reinterpret(bytes) : start.reinterpret(bytes, arena, null);
        LargePages.prefer(slab);
    }

    @Override
    public Buffer slice(long offset, long bytes, Lifetime lifetime) {
        if (offset + bytes > touched) {
            budget.take(offset + bytes - touched);
            touched = offset + bytes;
        }
        return new HostBuffer(slab.asSlice(offset, bytes), lifetime);
    }

    @Override
    public String device() {
        return "cpu";
    }

    @Override
    public long capacity() {
        return slab.byteSize();
    }

    @Override
    public void free() {
        end();
        try {
            FREE.invokeExact(allocation);
            budget.giveBack(touched);
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
    }

    private void end() {
        if (arena != null) {
            arena.close();
        }
    }

    private static MethodHandle handle(String name, FunctionDescriptor type) {
        Linker linker = Linker.nativeLinker();
        return linker.downcallHandle(linker.defaultLookup().findOrThrow(name), type);
    }
}
