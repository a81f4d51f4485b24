// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static jcuda.driver.JCudaDriver.cuDeviceGet;
import static jcuda.driver.JCudaDriver.cuDeviceGetAttribute;
import static jcuda.driver.JCudaDriver.cuDeviceGetName;
import static jcuda.driver.JCudaDriver.cuMemFreeHost;
import static jcuda.driver.JCudaDriver.cuMemHostAlloc;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoHAsync;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync;

import io.llmc.backend.Agreement;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.backend.OpCases;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.gpu.driver.Blas;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.CudaException;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Natives;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.SplittableRandom;
import jcuda.Pointer;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;

/// What [OnDevice] has done in other processes: one item after another, each announced by a line
/// and answered by a line.
///
/// `-Dllmc.ondevice.scale=64` divides the sizes, `-Dllmc.ops=REGEX` chooses among the cases and the
/// times.
final class DeviceWork {
    /// The device can do no more in this process.
    static final int BROKEN = 3;

    private static final int FATAL = 700;
    private static final int SCALE = Integer.getInteger("llmc.ondevice.scale", 1);
    private static final int WARM = 2;
    private static final int RUNS = SCALE == 1 ? 9 : 1;

    /// Milliseconds an entry may take; a slow one runs less often.
    private static final double BUDGET = 2000;

    /// More than any device's cache: what is written between two runs leaves nothing of the first
    /// one's operands there.
    private static final long FLUSH = (256L << 20) / SCALE;

    private DeviceWork() {}

    enum Part {
        DEVICE,
        CASES,
        CEILINGS,
        TIMES
    }

    private interface Work {
        /// @throws AssertionError where the device is wrong
        String on(CudaBackend backend);
    }

    /// @param group items that fail together
    record Item(String name, String group, Work work) {}

    static List<Item> items(Part part) {
        String wanted = System.getProperty("llmc.ops", ".*");
        return switch (part) {
            case DEVICE -> facts();
            case CASES ->
                    OpCases.ALL.stream()
                            .filter(c -> !Op.ON_CPU_ALONE.contains(c.op()))
                            .filter(c -> c.op().getSimpleName().matches(wanted))
                            .map(c -> new Item(c.name(), c.op().getSimpleName(), b -> agree(c, b)))
                            .toList();
            case TIMES ->
                    new Workload(SCALE)
                            .all().stream()
                                    .filter(e -> e.op().getSimpleName().matches(wanted))
                                    .map(e -> new Item(e.name(), e.name(), b -> time(e, b)))
                                    .toList();
            case CEILINGS -> ceilings();
        };
    }

    /// Prints `> number` before an item, and `< answer` or `! problem` after it.
    ///
    /// @return the exit code
    static int run(Part part, int from, Set<String> without, PrintStream out) {
        List<Item> items = items(part);
        var device = new CudaBackendProvider().devices().getFirst();
        if (!device.usable()) {
            out.println("! " + device.description());
            return 1;
        }
        try (CudaBackend backend =
                new CudaBackend(0, new BackendOptions(1, BackendOptions.Math.PORTABLE))) {
            for (int i = from; i < items.size(); i++) {
                Item item = items.get(i);
                if (without.contains(item.group())) {
                    continue;
                }
                out.println("> " + i);
                try {
                    out.println("< " + line(item.work().on(backend)));
                } catch (CudaException e) {
                    out.println("! " + line(e.getMessage()));
                    if (e.code() >= FATAL) {
                        return BROKEN;
                    }
                } catch (AssertionError | RuntimeException e) {
                    out.println("! " + line(e.toString()));
                }
            }
        } catch (UserException e) {
            out.println("! " + line(e.getMessage()));
            return 1;
        }
        return 0;
    }

    private static String line(String text) {
        return text == null ? "" : text.replaceAll("\\s*\\R\\s*", "; ");
    }

    // ---------------------------------------------------------------- what it is

    private static List<Item> facts() {
        List<Item> facts = new ArrayList<>();
        facts.add(
                fact("device", _ -> new CudaBackendProvider().devices().getFirst().description()));
        facts.add(
                attribute(
                        "multiprocessors",
                        CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                        1,
                        ""));
        facts.add(
                attribute(
                        "highest clock",
                        CUdevice_attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE,
                        1000,
                        " MHz"));
        facts.add(
                attribute(
                        "highest memory clock",
                        CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE,
                        1000,
                        " MHz"));
        facts.add(
                attribute(
                        "memory bus",
                        CUdevice_attribute.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH,
                        1,
                        " bits"));
        facts.add(
                attribute(
                        "second-level cache",
                        CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
                        1 << 20,
                        " MiB"));
        facts.add(
                fact(
                        "memory that is free",
                        b -> String.format(Locale.ROOT, "%.1f GB", b.room() / 1e9)));
        facts.add(
                fact(
                        "cuBLAS",
                        b -> {
                            if (Natives.blasProblem().isPresent()) {
                                return "none: " + Natives.blasProblem().get();
                            }
                            try (Blas blas = new Blas(b.gpu())) {
                                return "version " + blas.version();
                            }
                        }));
        facts.add(fact("floors are those of", _ -> card().name()));
        facts.add(
                fact(
                        "Java",
                        _ ->
                                System.getProperty("java.vm.name")
                                        + " "
                                        + Runtime.version()
                                        + ", "
                                        + Runtime.getRuntime().availableProcessors()
                                        + " processors"));
        return facts;
    }

    private static Item fact(String name, Work work) {
        return new Item(name, name, work);
    }

    private static Item attribute(String name, int which, int unit, String suffix) {
        return fact(
                name,
                _ -> {
                    int[] value = new int[1];
                    int code = cuDeviceGetAttribute(value, which, handle());
                    return code == 0 ? value[0] / unit + suffix : "not known: error " + code;
                });
    }

    private static CUdevice handle() {
        CUdevice device = new CUdevice();
        cuDeviceGet(device, 0);
        return device;
    }

    /// The first of them where this device is none.
    private static Card card() {
        byte[] name = new byte[256];
        cuDeviceGetName(name, name.length, handle());
        return Card.of(new String(name, StandardCharsets.US_ASCII)).orElse(Card.ALL.getFirst());
    }

    // ---------------------------------------------------------------- what it computes

    /// The case against the reference; then again, since a race gives other bytes.
    private static String agree(OpCases.Case c, CudaBackend backend) {
        List<MemorySegment> first = Agreement.check(c, backend);
        List<MemorySegment> again = Agreement.bytes(c, backend);
        for (int i = 0; i < first.size(); i++) {
            Agreement.assertSame("output " + i + " of a second run", again.get(i), first.get(i));
        }
        return "";
    }

    // ---------------------------------------------------------------- how fast

    /// Cells of a table: median, fastest, floor, ratio, limit, runs.
    private static String time(Workload.Entry e, CudaBackend backend) {
        long bytes =
                e.build()
                        .apply(Workload.SHAPES)
                        .operands()
                        .mapToLong(t -> t.byteSize() + 256)
                        .sum();
        if (bytes + FLUSH > backend.room()) {
            throw new IllegalStateException(
                    String.format(Locale.ROOT, "needs %.1f GB", (bytes + FLUSH) / 1e9));
        }
        Gpu gpu = backend.gpu();
        try (TensorArena arena = backend.newArena(bytes);
                Gpu.Scratch flush = gpu.scratch(FLUSH)) {
            var operands = new RandomOperands(backend, arena, new SplittableRandom(7));
            Op op = e.build().apply(operands);
            backend.run(op); // loads the kernels
            gpu.await();
            int runs = RUNS;
            for (int i = 0; i < WARM && i < runs; i++) {
                double ms = once(backend, op, flush);
                runs = (int) Math.clamp(BUDGET / ms - WARM, 1, RUNS);
            }
            double[] us = new double[runs];
            for (int i = 0; i < runs; i++) {
                us[i] = 1e3 * once(backend, op, flush);
            }
            Arrays.sort(us);
            Card card = card();
            double crossing = e.bytes(op);
            double floor = card.microseconds(e, crossing);
            return String.format(
                    Locale.ROOT,
                    "%.1f | %.1f | %.1f | %.2f | %s | %d",
                    us[runs / 2],
                    us[0],
                    floor,
                    us[runs / 2] / floor,
                    card.waitsForMemory(e, crossing) ? "memory" : "arithmetic",
                    runs);
        }
    }

    /// Milliseconds, with nothing in the cache. The device is busy with that when the work is
    /// queued, so the time holds no waiting for the host.
    private static double once(CudaBackend backend, Op op, Gpu.Scratch flush) {
        backend.gpu().zero(flush.pointer(), FLUSH);
        return backend.gpu().time(() -> backend.run(op));
    }

    // ---------------------------------------------------------------- how fast it could be

    private static List<Item> ceilings() {
        return List.of(
                fact(
                        "copy on the device, bytes read and written",
                        b -> copy(b, (1L << 30) / SCALE)),
                fact("pinned memory of the host to the device", b -> pinned(b, true)),
                fact("the device to pinned memory of the host", b -> pinned(b, false)),
                fact("upload by the backend, from any memory", b -> transfer(b, true)),
                fact("download by the backend", b -> transfer(b, false)),
                fact("bf16 product by cuBLAS, sums in F32", DeviceWork::cublas),
                fact("small operations in a row, each with its launch", DeviceWork::launches));
    }

    private static String rate(double bytes, double ms) {
        return String.format(Locale.ROOT, "%.1f GB/s", bytes / ms / 1e6);
    }

    private static double median(Gpu gpu, Runnable work) {
        double[] ms = new double[5];
        for (int i = -2; i < ms.length; i++) {
            ms[Math.max(0, i)] = gpu.time(work);
        }
        Arrays.sort(ms);
        return ms[ms.length / 2];
    }

    private static String copy(CudaBackend backend, long bytes) {
        Gpu gpu = backend.gpu();
        try (Gpu.Scratch from = gpu.scratch(bytes);
                Gpu.Scratch to = gpu.scratch(bytes)) {
            gpu.zero(from.pointer(), bytes);
            return rate(
                    2.0 * bytes, median(gpu, () -> gpu.copy(to.pointer(), from.pointer(), bytes)));
        }
    }

    private static String pinned(CudaBackend backend, boolean up) {
        Gpu gpu = backend.gpu();
        long bytes = (256L << 20) / SCALE;
        Pointer host = new Pointer();
        try (Gpu.Scratch there = gpu.scratch(bytes)) {
            gpu.check("cuMemHostAlloc", cuMemHostAlloc(host, bytes, 0));
            double ms =
                    median(
                            gpu,
                            () ->
                                    gpu.check(
                                            "a copy",
                                            up
                                                    ? cuMemcpyHtoDAsync(
                                                            there.pointer(),
                                                            host,
                                                            bytes,
                                                            gpu.compute())
                                                    : cuMemcpyDtoHAsync(
                                                            host,
                                                            there.pointer(),
                                                            bytes,
                                                            gpu.compute())));
            gpu.check("cuMemFreeHost", cuMemFreeHost(host));
            return rate(bytes, ms);
        }
    }

    private static String transfer(CudaBackend backend, boolean up) {
        long bytes = (512L << 20) / SCALE;
        try (TensorArena arena = backend.newArena(bytes + 512);
                Arena host = Arena.ofConfined()) {
            Tensor t = arena.allocate(DType.U8, new Shape(bytes));
            Tensor last = arena.allocate(DType.U8, new Shape(1));
            MemorySegment there = host.allocate(bytes, 64);
            there.fill((byte) 5);
            MemorySegment one = host.allocate(1);
            backend.upload(t, there);
            backend.download(one, last);
            long start = System.nanoTime();
            if (up) {
                backend.upload(t, there);
                backend.download(one, last); // waits
            } else {
                backend.download(there, t);
            }
            return rate(bytes, (System.nanoTime() - start) / 1e6);
        }
    }

    private static String cublas(CudaBackend backend) {
        if (Natives.blasProblem().isPresent()) {
            return "not measured: " + Natives.blasProblem().get();
        }
        int n = SCALE == 1 ? 8192 : 64;
        try (TensorArena arena = backend.newArena(8L * n * n + 1024);
                Blas blas = new Blas(backend.gpu())) {
            var operands = new RandomOperands(backend, arena, new SplittableRandom(7));
            Tensor a = operands.of(DType.BF16, n, n);
            Tensor b = operands.of(DType.BF16, n, n);
            Tensor c = operands.f32(n, n);
            Runnable product =
                    () ->
                            blas.multiply(
                                    CudaBuffer.pointer(c),
                                    Blas.Factor.bf16(CudaBuffer.pointer(a), Blas.Layout.PLAIN),
                                    Blas.Factor.bf16(CudaBuffer.pointer(b), Blas.Layout.PLAIN),
                                    n,
                                    n,
                                    n,
                                    1,
                                    0);
            double ms = median(backend.gpu(), product);
            spotCheck(backend, a, b, c, n);
            return String.format(
                    Locale.ROOT, "%.1f TFLOP/s at n = %d", 2.0 * n * n * n / ms / 1e9, n);
        }
    }

    /// The last row's first and last element.
    private static void spotCheck(CudaBackend backend, Tensor a, Tensor b, Tensor c, int n) {
        MemorySegment x = backend(backend, a);
        MemorySegment y = backend(backend, b);
        MemorySegment out = backend(backend, c);
        for (int j : new int[] {0, n - 1}) {
            double want = 0;
            for (int k = 0; k < n; k++) {
                want += bf16(x, (n - 1L) * n + k) * bf16(y, (long) k * n + j);
            }
            float got = out.getAtIndex(ValueLayout.JAVA_FLOAT, (n - 1L) * n + j);
            if (!(Math.abs(got - want) <= 1e-3 * Math.sqrt(n))) {
                throw new AssertionError("cuBLAS gives %s, not %s".formatted(got, want));
            }
        }
    }

    private static MemorySegment backend(CudaBackend backend, Tensor t) {
        MemorySegment host = StandIn.bytes(t.byteSize());
        backend.download(host, t);
        return host;
    }

    private static double bf16(MemorySegment bytes, long i) {
        return Float.intBitsToFloat(bytes.getAtIndex(ValueLayout.JAVA_SHORT, i) << 16);
    }

    private static String launches(CudaBackend backend) {
        int n = 1000 / SCALE + 1;
        try (TensorArena arena = backend.newArena(1 << 16)) {
            Tensor x = arena.allocate(DType.F32, new Shape(1, 256));
            Op op = new ForwardOp.Scale(x, x, 1);
            backend.run(op);
            backend.gpu().await();
            long start = System.nanoTime();
            for (int i = 0; i < n; i++) {
                backend.run(op);
            }
            backend.gpu().await();
            return String.format(Locale.ROOT, "%.1f µs", (System.nanoTime() - start) / 1e3 / n);
        }
    }
}
