// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static jcuda.driver.JCudaDriver.cuFuncSetAttribute;
import static jcuda.driver.JCudaDriver.cuModuleGetFunction;
import static jcuda.driver.JCudaDriver.cuModuleLoadDataEx;

import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import jcuda.NativePointerObject;
import jcuda.Pointer;
import jcuda.driver.CUfunction;
import jcuda.driver.CUfunction_attribute;
import jcuda.driver.CUmodule;

/// One family of kernels: the PTX that its `.cu` file was compiled to, handed to the driver at the
/// first launch.
public final class Kernels {
    private static final Pattern ENTRY = Pattern.compile("\\.entry\\s+(\\w+)\\s*\\(([^)]*)\\)");
    private static final Pattern PARAMETER =
            Pattern.compile(
                    "\\.param\\s+(?:\\.align\\s+\\d+\\s+)?\\.[a-z](\\d+)\\s+\\w+(?:\\[(\\d+)])?");

    private final Gpu gpu;
    private final String family;
    private final Map<String, Kernel> kernels = new HashMap<>();
    private CUmodule module;

    private static final class Kernel {
        final CUfunction function = new CUfunction();
        final int[] sizes;

        /// Dynamic shared memory that was asked for; with static memory beside it, 48 KiB may be
        /// too much without asking.
        int shared;

        Kernel(int[] sizes) {
            this.sizes = sizes;
        }
    }

    /// @param family the name of a `.cu` file
    Kernels(Gpu gpu, String family) {
        this.gpu = gpu;
        this.family = family;
    }

    /// The PTX of a family, without the zero byte that ends a C string.
    static String ptx(String family) {
        String name = family + ".ptx";
        try (InputStream in = Kernels.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new FileNotFoundException(name);
            }
            return new String(in.readAllBytes(), StandardCharsets.US_ASCII);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void load() {
        String ptx = ptx(family);
        CUmodule loaded = new CUmodule();
        byte[] image = (ptx + "\0").getBytes(StandardCharsets.US_ASCII);
        gpu.check(
                "loading the kernels of " + family,
                cuModuleLoadDataEx(
                        loaded, Pointer.to(image), 0, new int[0], Pointer.to(new int[0])));
        Matcher entry = ENTRY.matcher(ptx);
        while (entry.find()) {
            int[] sizes =
                    PARAMETER
                            .matcher(entry.group(2))
                            .results()
                            .mapToInt(p -> bytes(p.group(1), p.group(2)))
                            .toArray();
            Kernel kernel = new Kernel(sizes);
            gpu.check(
                    "cuModuleGetFunction",
                    cuModuleGetFunction(kernel.function, loaded, entry.group(1)));
            kernels.put(entry.group(1), kernel);
        }
        module = loaded;
    }

    /// @param bits of an element
    /// @param count of a struct's elements, null for one
    private static int bytes(String bits, String count) {
        return Integer.parseInt(bits) / 8 * (count == null ? 1 : Integer.parseInt(count));
    }

    /// @param arguments in the order of the kernel's parameters: tensors and scratch as pointers,
    ///   null for a pointer to nothing, numbers of the parameter's own size, bytes of a struct
    void launch(String name, Grid grid, Object... arguments) {
        if (grid.x() == 0 || grid.y() == 0 || grid.z() == 0) {
            return; // no rows
        }
        gpu.enter();
        if (module == null) {
            load();
        }
        Kernel kernel = kernels.get(name);
        if (kernel == null) {
            throw new IllegalArgumentException("no kernel " + name + " in " + family);
        }
        if (grid.shared() > kernel.shared) {
            gpu.check(
                    "cuFuncSetAttribute",
                    cuFuncSetAttribute(
                            kernel.function,
                            CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                            grid.shared()));
            kernel.shared = grid.shared();
        }
        gpu.launch(name, kernel.function, grid, pack(name, kernel.sizes, arguments));
    }

    private static Pointer pack(String kernel, int[] sizes, Object[] arguments) {
        if (arguments.length != sizes.length) {
            throw new IllegalArgumentException(
                    "%s takes %d arguments, not %d"
                            .formatted(kernel, sizes.length, arguments.length));
        }
        NativePointerObject[] pointers = new NativePointerObject[sizes.length];
        for (int i = 0; i < sizes.length; i++) {
            int size = size(arguments[i]);
            if (size != sizes[i]) {
                throw new IllegalArgumentException(
                        "argument %d of %s has %d bytes, %s has %d: %s"
                                .formatted(
                                        i,
                                        kernel,
                                        sizes[i],
                                        arguments[i],
                                        size,
                                        Arrays.toString(sizes)));
            }
            pointers[i] = pointer(arguments[i]);
        }
        return Pointer.to(pointers);
    }

    private static int size(Object argument) {
        return switch (argument) {
            case Integer _, Float _ -> 4;
            case byte[] struct -> struct.length;
            case null, default -> 8;
        };
    }

    private static Pointer pointer(Object argument) {
        return switch (argument) {
            case null -> Pointer.to(new long[] {0});
            case Tensor t -> Pointer.to(new long[] {CudaBuffer.address(t)});
            case Gpu.Scratch s -> Pointer.to(new long[] {s.address()});
            case Integer i -> Pointer.to(new int[] {i});
            case Long l -> Pointer.to(new long[] {l});
            case Float f -> Pointer.to(new float[] {f});
            case Double d -> Pointer.to(new double[] {d});
            case byte[] struct -> Pointer.to(struct);
            default -> throw new IllegalArgumentException("no kernel takes " + argument);
        };
    }
}
