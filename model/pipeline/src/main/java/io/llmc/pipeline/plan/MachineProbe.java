// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import com.sun.management.OperatingSystemMXBean;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// What a device reaches here, in about two seconds: how fast its memory is read, and how fast its
/// products are. The best of several tries, since whatever else the machine does only slows them.
public final class MachineProbe {
    /// Bytes that are read: more than the caches of most processors.
    private static final int BYTES = 192 << 20;

    private static final int TRIES = 6;

    /// Rows and columns of a product.
    private static final int WIDTH = 1024;

    private static final long PRODUCT_NANOS = 500_000_000;

    private final Backend backend;
    private final int threads;

    private MachineProbe(Backend backend, int threads) {
        this.backend = backend;
        this.threads = threads;
    }

    /// @param threads that read, where the device computes in the host's memory
    public static DeviceSpec measure(Backend backend, int threads) {
        MachineProbe probe = new MachineProbe(backend, threads);
        double bandwidth = backend.sharesHostMemory() ? probe.host() : probe.device();
        return new DeviceSpec(
                "this",
                "this machine, " + backend.device(),
                backend.sharesHostMemory() ? total() : backend.room(),
                bandwidth,
                0,
                Map.of(
                        Arithmetic.F32, probe.peak(DType.F32),
                        Arithmetic.BF16, probe.peak(DType.BF16)));
    }

    private static double total() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class)
                .getTotalMemorySize();
    }

    /// Bytes a second that all threads together read of memory.
    private double host() {
        int each = BYTES / 8 / threads;
        List<long[]> parts = IntStream.range(0, threads).mapToObj(_ -> new long[each]).toList();
        double best = Double.MAX_VALUE;
        for (int t = 0; t < TRIES; t++) {
            long begun = System.nanoTime();
            read(parts);
            best = Math.min(best, (System.nanoTime() - begun) * 1e-9);
        }
        return 8.0 * each * threads / best;
    }

    private static void read(List<long[]> parts) {
        long[] sums = new long[parts.size()];
        List<Thread> readers = new ArrayList<>();
        for (int i = 0; i < parts.size(); i++) {
            int part = i;
            readers.add(Thread.ofPlatform().start(() -> sums[part] = sum(parts.get(part))));
        }
        boolean interrupted = false;
        for (Thread reader : readers) {
            while (reader.isAlive()) {
                try {
                    reader.join();
                } catch (InterruptedException _) {
                    interrupted = true; // finds out later
                }
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (sums[0] != 0) {
            throw new IllegalStateException("an array of zeros adds up to " + sums[0]);
        }
    }

    private static long sum(long[] x) {
        long sum = 0;
        for (long v : x) {
            sum += v;
        }
        return sum;
    }

    /// Bytes a second that a copy reads and writes.
    private double device() {
        try (TensorArena arena = backend.newArena(2L * BYTES + 1024)) {
            Tensor from = arena.allocate(DType.F32, new Shape(BYTES / 4));
            Tensor to = arena.allocate(DType.F32, new Shape(BYTES / 4));
            double best = Double.MAX_VALUE;
            for (int t = 0; t < TRIES; t++) {
                long begun = System.nanoTime();
                backend.run(new ForwardOp.Scale(to, from, 1));
                await(to.reshape(BYTES / 4 / WIDTH, WIDTH).rows(0, 1));
                best = Math.min(best, (System.nanoTime() - begun) * 1e-9);
            }
            return 2.0 * BYTES / best;
        }
    }

    /// Operations a second of products with weights of a type.
    private double peak(DType type) {
        long size = (long) WIDTH * WIDTH;
        try (TensorArena arena = backend.newArena(12 * size + 1024)) {
            Tensor x = arena.allocate(DType.F32, new Shape(WIDTH, WIDTH));
            Tensor out = arena.allocate(DType.F32, new Shape(WIDTH, WIDTH));
            Tensor w = arena.allocate(type, new Shape(WIDTH, WIDTH));
            double best = Double.MAX_VALUE;
            long until = System.nanoTime() + PRODUCT_NANOS;
            for (int t = 0; t < TRIES || System.nanoTime() < until; t++) {
                long begun = System.nanoTime();
                backend.run(new ForwardOp.Matmul(out, x, new Weight.Dense(w)));
                await(out.rows(0, 1));
                best = Math.min(best, (System.nanoTime() - begun) * 1e-9);
            }
            return 2.0 * size * WIDTH / best;
        }
    }

    /// A device works on while the host goes on.
    private void await(Tensor row) {
        if (!backend.sharesHostMemory()) {
            backend.floats(row);
        }
    }
}
