// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/// Asks Linux for pages of 2 MiB where memory is large: a decoder's step reads all weights, and
/// with pages of 4 KiB waits for the table that says where each of them lies.
///
/// It is a wish. Elsewhere, and where the system has switched such pages off, nothing happens.
final class LargePages {
    private static final long PAGE = 1 << 21;

    /// Memory from which on it is asked for: what rounding to large pages adds to it is little.
    private static final long LEAST = 8 * PAGE;

    /// Linux's MADV_HUGEPAGE.
    private static final int ADVICE = 14;

    private static final Optional<MethodHandle> MADVISE = handle();

    private LargePages() {}

    /// Before any of it is written.
    static void prefer(MemorySegment memory) {
        long from = Math.ceilDiv(memory.address(), PAGE) * PAGE;
        long end = (memory.address() + memory.byteSize()) / PAGE * PAGE;
        if (MADVISE.isEmpty() || end - from < LEAST) {
            return;
        }
        try {
            int _ = (int) MADVISE.get().invokeExact(from, end - from, ADVICE);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall of madvise throws nothing
        }
    }

    private static Optional<MethodHandle> handle() {
        if (!System.getProperty("os.name").equals("Linux")) {
            return Optional.empty();
        }
        Linker linker = Linker.nativeLinker();
        return linker.defaultLookup()
                .find("madvise")
                .map(address ->
                        linker.downcallHandle(
                                address,
                                FunctionDescriptor.of(
                                        ValueLayout.JAVA_INT,
                                        ValueLayout.JAVA_LONG,
                                        ValueLayout.JAVA_LONG,
                                        ValueLayout.JAVA_INT)));
    }
}
