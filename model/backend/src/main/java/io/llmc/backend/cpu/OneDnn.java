// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.io.IOException;
import java.lang.foreign.AddressLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import org.bytedeco.javacpp.Loader;

/// The calls that are needed of oneDNN's C library. JavaCPP brings and unpacks it; its own
/// bindings, and the OpenCL classes that these want, stay unused.
final class OneDnn {
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG;
    private static final ValueLayout.OfByte CHAR = ValueLayout.JAVA_BYTE;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;
    private static final AddressLayout POINTER = ValueLayout.ADDRESS;

    private static final MemorySegment ZERO = Arena.global().allocate(INT);

    /// Names the jar; is never initialised, for that would load JavaCPP's own library.
    private static final Class<?> PRESET = org.bytedeco.dnnl.global.dnnl.class;

    /// Bits of `dnnl_cpu_isa_t` for CPUs whose instructions add up products of bytes in 32 bits:
    /// AVX512-VNNI (AMX among them) and AVX-VNNI. Others would go through 16 bits, which is not
    /// exact.
    private static final int ISA_VNNI = 0x40 | 0x08;

    private final MethodHandle sgemm;
    private final MethodHandle integers;
    private final MethodHandle oneThread;
    private final String version;
    private final SymbolLookup library;

    private OneDnn(
            MethodHandle sgemm,
            MethodHandle integers,
            MethodHandle oneThread,
            String version,
            SymbolLookup library) {
        this.library = library;
        this.sgemm = sgemm;
        this.integers = integers;
        this.oneThread = oneThread;
        this.version = version;
    }

    /// Unpacks (once a machine) and loads the library: about 0.3 s.
    ///
    /// @throws IllegalStateException with the reason where that fails
    static OneDnn load() {
        try {
            String platform = Loader.getPlatform();
            // Where libdnnl looks for its OpenMP: beside itself.
            Path openMp = unpack(platform + "/libgomp.so.1");
            Path library = unpack(platform + "/libdnnl.so.3");
            Linker linker = Linker.nativeLinker();
            SymbolLookup dnnl = SymbolLookup.libraryLookup(library, Arena.global());
            SymbolLookup omp = SymbolLookup.libraryLookup(openMp, Arena.global());
            MethodHandle sgemm =
                    linker.downcallHandle(
                            dnnl.findOrThrow("dnnl_sgemm"),
                            FunctionDescriptor.of(
                                    INT, CHAR, CHAR, LONG, LONG, LONG, FLOAT, POINTER, LONG,
                                    POINTER, LONG, FLOAT, POINTER, LONG));
            MethodHandle integers =
                    linker.downcallHandle(
                            dnnl.findOrThrow("dnnl_gemm_s8s8s32"),
                            FunctionDescriptor.of(
                                    INT, CHAR, CHAR, CHAR, LONG, LONG, LONG, FLOAT, POINTER, LONG,
                                    CHAR, POINTER, LONG, CHAR, FLOAT, POINTER, LONG, POINTER));
            MethodHandle threads =
                    linker.downcallHandle(
                            omp.findOrThrow("omp_set_num_threads"), FunctionDescriptor.ofVoid(INT));
            MethodHandle version =
                    linker.downcallHandle(
                            dnnl.findOrThrow("dnnl_version"), FunctionDescriptor.of(POINTER));
            MemorySegment v = ((MemorySegment) version.invokeExact()).reinterpret(12);
            return new OneDnn(
                    sgemm,
                    integers,
                    threads,
                    "%d.%d.%d".formatted(v.get(INT, 0), v.get(INT, 4), v.get(INT, 8)),
                    dnnl);
        } catch (Throwable e) {
            // Whatever a missing, foreign or broken library makes of itself.
            throw new IllegalStateException("oneDNN does not load here: " + e.getMessage(), e);
        }
    }

    /// Whether [#load] has something to load.
    static String describe() {
        String platform = Loader.getPlatform();
        boolean there =
                PRESET.getResource("/org/bytedeco/dnnl/" + platform + "/libdnnl.so.3") != null;
        return there ? "oneDNN at hand" : "no oneDNN for " + platform;
    }

    private static Path unpack(String resource) throws IOException {
        var file = Loader.cacheResource(PRESET, "/org/bytedeco/dnnl/" + resource);
        if (file == null) {
            throw new IOException("no " + resource + " in its jar");
        }
        return file.toPath();
    }

    String version() {
        return version;
    }

    /// Whether the CPU multiplies bf16.
    boolean hasBf16() {
        return OneDnnBf16.isSupported(isa());
    }

    /// Whether the CPU multiplies integers of 8 bits.
    boolean hasIntegers() {
        return (isa() & ISA_VNNI) != 0;
    }

    /// A `dnnl_cpu_isa_t`.
    private int isa() {
        try {
            return (int)
                    Linker.nativeLinker()
                            .downcallHandle(
                                    library.findOrThrow("dnnl_get_effective_cpu_isa"),
                                    FunctionDescriptor.of(INT))
                            .invokeExact();
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall throws nothing
        }
    }

    OneDnnBf16 bf16() {
        return new OneDnnBf16(library);
    }

    /// What the calling thread calls next runs on it alone. A variable of the thread, and cheap.
    void useOneThread() {
        try {
            oneThread.invokeExact(1);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall throws nothing
        }
    }

    /// Row-major `c = alpha op(a) op(b) + beta c`, on the calling thread alone.
    ///
    /// @param transA whether a is stored `[k, m]`
    /// @param transB whether b is stored `[n, k]`
    void sgemm(
            boolean transA,
            boolean transB,
            int m,
            int n,
            int k,
            float alpha,
            MemorySegment a,
            long lda,
            MemorySegment b,
            long ldb,
            float beta,
            MemorySegment c,
            long ldc) {
        int status;
        try {
            useOneThread();
            status =
                    (int)
                            sgemm.invokeExact(
                                    (byte) (transA ? 'T' : 'N'),
                                    (byte) (transB ? 'T' : 'N'),
                                    (long) m,
                                    (long) n,
                                    (long) k,
                                    alpha,
                                    a,
                                    lda,
                                    b,
                                    ldb,
                                    beta,
                                    c,
                                    ldc);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall throws nothing
        }
        if (status != 0) {
            throw new IllegalStateException("dnnl_sgemm failed with status " + status);
        }
    }

    /// Row-major `c[m,n] = a[m,k] b[n,k]^T` of integers, a and b of 8 bits and without gaps, c of
    /// 32, on the calling thread alone. Exact where the CPU [has them][#hasIntegers].
    ///
    /// @param stride integers from row to row of c
    void integers(
            MemorySegment c, long stride, MemorySegment a, MemorySegment b, int m, int n, int k) {
        int status;
        try {
            useOneThread();
            status =
                    (int)
                            integers.invokeExact(
                                    (byte) 'N',
                                    (byte) 'T',
                                    (byte) 'F', // one number, 0, is added to all of c
                                    (long) m,
                                    (long) n,
                                    (long) k,
                                    1f,
                                    a,
                                    (long) k,
                                    (byte) 0,
                                    b,
                                    (long) k,
                                    (byte) 0,
                                    0f,
                                    c,
                                    stride,
                                    ZERO);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall throws nothing
        }
        if (status != 0) {
            throw new IllegalStateException("dnnl_gemm_s8s8s32 failed with status " + status);
        }
    }
}
