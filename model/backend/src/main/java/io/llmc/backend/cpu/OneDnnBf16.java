// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.HashMap;
import java.util.Map;

/// oneDNN's product of bf16 matrices with sums in F32, by its C interface: on AMX, or on AVX-512's
/// own instructions for bf16.
///
/// One [Kernel] is made for each thread and each shape, and kept.
final class OneDnnBf16 {
    /// Rows of every call.
    static final int ROWS = 64;

    private static final int CPU = 1;
    private static final int IN_ORDER = 1;
    private static final int BF16 = 2;
    private static final int F32 = 3;
    private static final int ANY = 1;
    private static final int WEIGHTS_MD = 131;
    private static final int SRC = 1;
    private static final int DST = 17;
    private static final int WEIGHTS = 33;

    /// Bits of `dnnl_cpu_isa_t` that a CPU with bf16 instructions has.
    private static final int ISA_BF16 = 231;

    private final SymbolLookup library;
    private final Linker linker = Linker.nativeLinker();
    private final MethodHandle memoryDesc;
    private final MethodHandle matmulDesc;
    private final MethodHandle reorderDesc;
    private final MethodHandle query;
    private final MethodHandle size;
    private final MethodHandle primitive;
    private final MethodHandle memory;
    private final MethodHandle setHandle;
    private final MethodHandle execute;
    private final MemorySegment engine;
    private final MethodHandle streamCreate;
    private final ThreadLocal<Map<Shape, Kernel>> kernels = ThreadLocal.withInitial(HashMap::new);

    private record Shape(int n, int k, long stride) {}

    OneDnnBf16(SymbolLookup library) {
        this.library = library;
        var p = ValueLayout.ADDRESS;
        var i = ValueLayout.JAVA_INT;
        memoryDesc = status("dnnl_memory_desc_create_with_strides", p, i, p, i, p);
        matmulDesc = status("dnnl_matmul_primitive_desc_create", p, p, p, p, p, p, p);
        reorderDesc = status("dnnl_reorder_primitive_desc_create", p, p, p, p, p, p);
        query = handle("dnnl_primitive_desc_query_md", FunctionDescriptor.of(p, p, i, i));
        size = handle("dnnl_memory_desc_get_size", FunctionDescriptor.of(ValueLayout.JAVA_LONG, p));
        primitive = status("dnnl_primitive_create", p, p);
        memory = status("dnnl_memory_create", p, p, p, p);
        setHandle = status("dnnl_memory_set_data_handle", p, p);
        execute = status("dnnl_primitive_execute", p, p, i, p);
        streamCreate = status("dnnl_stream_create", p, p, i);
        engine = made(status("dnnl_engine_create", p, i, ValueLayout.JAVA_LONG), CPU, 0L);
    }

    /// Whether the CPU has instructions for bf16, so that this is fast.
    ///
    /// @param isa a `dnnl_cpu_isa_t`
    static boolean isSupported(int isa) {
        return (isa & ISA_BF16) == ISA_BF16;
    }

    private MethodHandle handle(String name, FunctionDescriptor type) {
        return linker.downcallHandle(library.findOrThrow(name), type);
    }

    private MethodHandle status(String name, MemoryLayout... parameters) {
        return handle(name, FunctionDescriptor.of(ValueLayout.JAVA_INT, parameters));
    }

    /// Calls what returns a status.
    private static void check(MethodHandle call, Object... arguments) {
        int status;
        try {
            status = (int) call.invokeWithArguments(arguments);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // a downcall throws nothing
        }
        if (status != 0) {
            throw new IllegalStateException("oneDNN failed with status " + status);
        }
    }

    /// What a call makes that writes a pointer to its first argument.
    private static MemorySegment made(MethodHandle call, Object... arguments) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            Object[] all = new Object[arguments.length + 1];
            all[0] = out;
            System.arraycopy(arguments, 0, all, 1, arguments.length);
            check(call, all);
            return out.get(ValueLayout.ADDRESS, 0);
        }
    }

    private MemorySegment matrix(int type, long rows, long cols, long rowStride, long colStride) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment dims = arena.allocate(96, 8);
            dims.setAtIndex(ValueLayout.JAVA_LONG, 0, rows);
            dims.setAtIndex(ValueLayout.JAVA_LONG, 1, cols);
            MemorySegment strides = arena.allocate(96, 8);
            strides.setAtIndex(ValueLayout.JAVA_LONG, 0, rowStride);
            strides.setAtIndex(ValueLayout.JAVA_LONG, 1, colStride);
            return made(memoryDesc, 2, dims, type, strides);
        }
    }

    /// Of the calling thread.
    ///
    /// @param n columns
    /// @param stride elements from row to row of the result
    Kernel kernel(int n, int k, long stride) {
        return kernels.get().computeIfAbsent(new Shape(n, k, stride), Kernel::new);
    }

    /// `c[64,n] = a[64,k] b[n,k]^T` for one shape. Belongs to a thread.
    final class Kernel {
        private final MemorySegment stream = made(streamCreate, engine, IN_ORDER);
        private final Call multiply;
        private final Call arrange;
        private final Call narrow;
        private final long arranged;

        private Kernel(Shape shape) {
            int n = shape.n;
            int k = shape.k;
            MemorySegment a = matrix(BF16, ROWS, k, k, 1);
            MemorySegment b = matrix(BF16, k, n, 1, k);
            MemorySegment c = matrix(F32, ROWS, n, shape.stride, 1);
            MemorySegment wide = matrix(F32, ROWS, k, k, 1);
            MemorySegment any = anyOrder(k, n);
            MemorySegment none = MemorySegment.NULL;
            MemorySegment product = made(matmulDesc, engine, a, any, none, c, none);
            MemorySegment best;
            try {
                best = (MemorySegment) query.invokeExact(product, WEIGHTS_MD, 0);
                arranged = (long) size.invokeExact(best);
            } catch (Throwable e) {
                throw new IllegalStateException(e);
            }
            multiply = new Call(product, new int[] {SRC, WEIGHTS, DST}, a, best, c);
            arrange =
                    new Call(
                            made(reorderDesc, b, engine, best, engine, none),
                            new int[] {SRC, DST},
                            b,
                            best);
            narrow =
                    new Call(
                            made(reorderDesc, wide, engine, a, engine, none),
                            new int[] {SRC, DST},
                            wide,
                            a);
        }

        private MemorySegment anyOrder(int k, int n) {
            var p = ValueLayout.ADDRESS;
            var i = ValueLayout.JAVA_INT;
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment dims = arena.allocate(96, 8);
                dims.setAtIndex(ValueLayout.JAVA_LONG, 0, k);
                dims.setAtIndex(ValueLayout.JAVA_LONG, 1, n);
                return made(
                        status("dnnl_memory_desc_create_with_tag", p, i, p, i, i),
                        2,
                        dims,
                        BF16,
                        ANY);
            }
        }

        /// Bytes of [#arrange]'s output.
        long arrangedBytes() {
            return arranged;
        }

        /// b `[n, k]` in the order that the product reads.
        void arrange(MemorySegment b, MemorySegment to) {
            arrange.run(b, to);
        }

        /// 64 rows of F32, each value rounded to the nearest bf16.
        void narrow(MemorySegment a, MemorySegment to) {
            narrow.run(a, to);
        }

        /// @param b as [#arrange] left it
        /// @param c F32 `[64, n]`, rows a stride apart
        void multiply(MemorySegment a, MemorySegment b, MemorySegment c) {
            multiply.run(a, b, c);
        }

        /// A primitive and its arguments.
        private final class Call {
            private final MemorySegment code;
            private final MemorySegment[] operands;
            private final MemorySegment arguments;

            Call(MemorySegment description, int[] roles, MemorySegment... operandDescs) {
                code = made(primitive, description);
                operands = new MemorySegment[roles.length];
                // Lives as long as the thread that uses it.
                arguments = Arena.ofAuto().allocate(16L * roles.length, 8);
                for (int i = 0; i < roles.length; i++) {
                    operands[i] = made(memory, operandDescs[i], engine, MemorySegment.NULL);
                    arguments.set(ValueLayout.JAVA_INT, 16L * i, roles[i]);
                    arguments.set(ValueLayout.ADDRESS, 16L * i + 8, operands[i]);
                }
            }

            void run(MemorySegment... where) {
                try {
                    for (int i = 0; i < where.length; i++) {
                        require((int) setHandle.invokeExact(operands[i], where[i]));
                    }
                    require((int) execute.invokeExact(code, stream, where.length, arguments));
                } catch (Throwable e) {
                    throw new IllegalStateException(e);
                }
            }

            private static void require(int status) {
                if (status != 0) {
                    throw new IllegalStateException("oneDNN failed with status " + status);
                }
            }
        }
    }
}
