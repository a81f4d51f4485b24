// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.stream.DoubleStream;
import jdk.incubator.vector.LongVector;

/// What products of a few rows read of their weights in a second, in every encoding, beside what
/// this machine reads of the same memory and does nothing else with: `bench/decode`.
///
/// Weights are copied until no cache holds them, or as often as `--memory` says: what a kernel
/// makes of bytes from a cache says whether it waits for memory or for itself. Reading and
/// multiplying take turns; a ratio is the median of those of all turns. With one thread it is
/// processor time that counts, which other work on the machine moves less.
public final class FewRowsSpeed {
    private static final int MEMORY = 128;
    private static final int TURNS = 11;

    /// How long turns before last at least: what the compiler needs, however small the weights.
    private static final long WARM_NANOS = 4_000_000_000L;

    /// How long all turns last at least: of many short ones the fastest had a core for itself.
    private static final long TURNS_NANOS = 1_000_000_000L;

    private record Layer(List<Weight> copies, long bytes) {}

    @FunctionalInterface
    private interface Make {
        Weight make(Arena arena, Random random, int out, int in);
    }

    private FewRowsSpeed() {}

    /// @param args `--rows 1,4 --shape 2048x2048,49152x576 --only BF16 --threads 2 --memory 128
    ///   --compute INT8`, memory in MiB, all of it optional
    public static void main(String[] args) {
        Map<String, String> options = new LinkedHashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            options.put(args[i], args[i + 1]);
        }
        int processors = Runtime.getRuntime().availableProcessors();
        int threads = Integer.parseInt(options.getOrDefault("--threads", "" + processors));
        var math = BackendOptions.Math.valueOf(options.getOrDefault("--math", "AUTO"));
        var compute = BackendOptions.Compute.valueOf(options.getOrDefault("--compute", "F32"));
        long memory = Long.parseLong(options.getOrDefault("--memory", "" + MEMORY)) << 20;
        String only = options.getOrDefault("--only", "");
        System.out.println(
                "| weight | shape | rows | GB/s | fastest | of reading | reading GB/s |\n"
                        + "|---|---|---|---|---|---|---|");
        var asked = new BackendOptions(threads, math, Long.MAX_VALUE, compute);
        try (CpuBackend backend = new CpuBackend(asked)) {
            for (String shape : options.getOrDefault("--shape", "2048x2048").split(",", -1)) {
                for (var encoding : encodings().entrySet()) {
                    if (encoding.getKey().contains(only)) {
                        for (String rows : options.getOrDefault("--rows", "1").split(",", -1)) {
                            measure(
                                    backend,
                                    threads,
                                    memory,
                                    encoding.getKey(),
                                    encoding.getValue(),
                                    shape,
                                    Integer.parseInt(rows));
                        }
                    }
                }
            }
        }
    }

    private static Map<String, Make> encodings() {
        Map<String, Make> all = new LinkedHashMap<>();
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.F16}) {
            all.put(
                    type.toString(),
                    (arena, random, out, in) ->
                            new Weight.Dense(values(arena, random, type, out, in)));
        }
        for (int bits : new int[] {8, 4, 3, 2}) {
            for (int group : new int[] {Tiles.ALL, 128, 64, 32}) {
                ints(all, Encoding.ints(bits, group, true), DType.BF16);
            }
            ints(all, Encoding.ints(bits, 128, false), DType.F16);
            ints(all, Encoding.ints(bits, 128, false), DType.F32);
        }
        floats(all, new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW));
        floats(all, new Encoding.Grid<>(Codes.Floats.E4M3, new Tiles(128, 128)));
        floats(all, new Encoding.Grid<>(Codes.Floats.E2M1, Tiles.groups(32), ScaleKind.POWER));
        floats(all, new Encoding.Grid<>(Codes.Floats.E2M1, Tiles.groups(16), ScaleKind.NESTED));
        all.put(
                "Q8_0",
                (arena, random, out, in) ->
                        new Weight.Blocks(
                                BlockType.Q8_0,
                                in,
                                octets(arena, random, DType.U8, out, BlockType.Q8_0.rowBytes(in))));
        return all;
    }

    private static void ints(Map<String, Make> all, Encoding.Grid<Codes.Ints> grid, DType scales) {
        all.put(
                grid.describe() + ", " + scales,
                (arena, random, out, in) -> {
                    long groups = grid.tiles().across(in);
                    Tensor zeros = octets(arena, random, DType.U8, out, groups);
                    for (long i = 0; i < out * groups; i++) {
                        byte zero = zeros.bytes().get(ValueLayout.JAVA_BYTE, i);
                        int middle = grid.codes().middleCode();
                        int code =
                                grid.codes().symmetric() ? middle : zero & grid.codes().maxCode();
                        zeros.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) code);
                    }
                    return new Weight.Grouped(
                            grid,
                            in,
                            octets(arena, random, DType.I32, out, grid.codes().words(in)),
                            values(arena, random, scales, out, groups),
                            zeros,
                            null);
                });
    }

    private static void floats(Map<String, Make> all, Encoding.Grid<Codes.Floats> grid) {
        all.put(
                grid.describe(),
                (arena, random, out, in) -> {
                    boolean pairs = grid.codes().bits() == 4;
                    Tensor codes =
                            octets(
                                    arena,
                                    random,
                                    pairs ? DType.U8 : DType.F8_E4M3,
                                    out,
                                    pairs ? in / 2 : in);
                    long down = grid.tiles().down(out);
                    long across = grid.tiles().across(in);
                    return switch (grid.scales()) {
                        case FLOAT ->
                                new Weight.Scaled(
                                        grid,
                                        codes,
                                        values(arena, random, DType.BF16, down, across));
                        case POWER ->
                                new Weight.Scaled(
                                        grid, codes, octets(arena, random, DType.U8, down, across));
                        case NESTED ->
                                new Weight.Scaled(
                                        grid,
                                        codes,
                                        octets(arena, random, DType.F8_E4M3, down, across),
                                        values(arena, random, DType.F32, 1, 1).reshape(1));
                    };
                });
    }

    private static Tensor octets(Arena arena, Random random, DType type, long rows, long cols) {
        long size = type.bytesFor(rows * cols);
        MemorySegment bytes = arena.allocate(size, 64);
        byte[] some = new byte[4093];
        random.nextBytes(some);
        for (int i = 0; i < some.length; i++) {
            some[i] &= 0x7b; // no NaN
        }
        for (long i = 0; i < size; i += some.length) {
            MemorySegment.copy(
                    some,
                    0,
                    bytes,
                    ValueLayout.JAVA_BYTE,
                    i,
                    (int) Math.min(some.length, size - i));
        }
        return Tensor.of(bytes, type, rows, cols);
    }

    private static Tensor values(Arena arena, Random random, DType type, long rows, long cols) {
        Tensor t = Tensor.of(arena.allocate(type.bytesFor(rows * cols), 64), type, rows, cols);
        float[] some = new float[1021];
        for (int i = 0; i < some.length; i++) {
            some[i] = random.nextFloat(-0.02f, 0.02f);
            some[i] += Math.signum(some[i]) * 0.001f; // scales that are usual
        }
        for (long i = 0; i < rows * cols; i++) {
            ReferenceOps.set(t, i, some[(int) (i % some.length)]);
        }
        return t;
    }

    private static void measure(
            CpuBackend backend,
            int threads,
            long size,
            String name,
            Make make,
            String shape,
            int rows) {
        int out = Integer.parseInt(shape.substring(0, shape.indexOf('x')));
        int in = Integer.parseInt(shape.substring(shape.indexOf('x') + 1));
        try (Arena arena = Arena.ofShared();
                TensorArena results = backend.newArena(8L * rows * (out + in) + 4096)) {
            Layer layer = layer(arena, make, out, in, size);
            Tensor x = results.allocate(DType.F32, new Shape(rows, in));
            backend.upload(x, values(arena, new Random(2), DType.F32, rows, in).bytes());
            Tensor y = results.allocate(DType.F32, new Shape(rows, out));
            List<MemorySegment> memory = memory(layer);
            var ratios = DoubleStream.builder();
            var rates = DoubleStream.builder();
            var reading = DoubleStream.builder();
            long start = System.nanoTime();
            long took = 0;
            for (int turn = 0; turn < TURNS || took < WARM_NANOS + TURNS_NANOS; ) {
                double read = layer.bytes / seconds(threads, () -> read(memory, threads));
                double rate =
                        layer.bytes
                                / seconds(
                                        threads,
                                        () -> {
                                            for (Weight w : layer.copies) {
                                                backend.run(new ForwardOp.Matmul(y, x, w));
                                            }
                                        });
                took = System.nanoTime() - start;
                if (took > WARM_NANOS) {
                    ratios.add(rate / read);
                    rates.add(rate / 1e9);
                    reading.add(read / 1e9);
                    turn++;
                }
            }
            double[] all = rates.build().toArray();
            System.out.printf(
                    Locale.ROOT,
                    "| %s | %s | %d | %.1f | %.1f | %.2f | %.1f |%n",
                    name,
                    shape,
                    rows,
                    median(all),
                    Arrays.stream(all).max().orElseThrow(),
                    median(ratios.build().toArray()),
                    median(reading.build().toArray()));
        }
    }

    private static Layer layer(Arena arena, Make make, int out, int in, long size) {
        Weight first = make.make(arena, new Random(1), out, in);
        long one = first.tensors().mapToLong(Tensor::byteSize).sum();
        List<Weight> copies = new ArrayList<>();
        long bytes = 0;
        while (bytes < size) {
            copies.add(
                    first.with(t -> {
                        MemorySegment copy = arena.allocate(t.byteSize(), 64);
                        copy.copyFrom(t.bytes());
                        return Tensor.of(copy, t.dtype(), t.shape().dims());
                    }));
            bytes += one;
        }
        return new Layer(copies, bytes);
    }

    private static List<MemorySegment> memory(Layer layer) {
        return layer.copies.stream().flatMap(Weight::tensors).map(Tensor::bytes).toList();
    }

    private static double seconds(int threads, Runnable work) {
        ThreadMXBean clock = ManagementFactory.getThreadMXBean();
        long start = threads == 1 ? clock.getCurrentThreadCpuTime() : System.nanoTime();
        work.run();
        long end = threads == 1 ? clock.getCurrentThreadCpuTime() : System.nanoTime();
        return (end - start) / 1e9;
    }

    /// By as many threads, each a part of every segment.
    private static void read(List<MemorySegment> memory, int threads) {
        long[] sums = new long[threads];
        List<Thread> readers = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            int own = i;
            Runnable part =
                    () -> {
                        for (MemorySegment m : memory) {
                            long size = m.byteSize() / threads;
                            sums[own] += sum(m, own * size, (own + 1) * size);
                        }
                    };
            if (threads == 1) {
                part.run();
            } else {
                readers.add(Thread.ofPlatform().start(part));
            }
        }
        for (Thread reader : readers) {
            try {
                reader.join();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
        if (Arrays.stream(sums).sum() == 42) {
            System.out.println();
        }
    }

    private static long sum(MemorySegment m, long from, long to) {
        var species = LongVector.SPECIES_PREFERRED;
        int n = species.vectorByteSize();
        LongVector a = LongVector.zero(species);
        LongVector b = a;
        LongVector c = a;
        LongVector d = a;
        for (long i = from; i <= to - 4 * n; i += 4 * n) {
            a = a.add(LongVector.fromMemorySegment(species, m, i, ByteOrder.LITTLE_ENDIAN));
            b = b.add(LongVector.fromMemorySegment(species, m, i + n, ByteOrder.LITTLE_ENDIAN));
            c = c.add(LongVector.fromMemorySegment(species, m, i + 2 * n, ByteOrder.LITTLE_ENDIAN));
            d = d.add(LongVector.fromMemorySegment(species, m, i + 3 * n, ByteOrder.LITTLE_ENDIAN));
        }
        return a.add(b).add(c.add(d)).reduceLanes(jdk.incubator.vector.VectorOperators.ADD);
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }
}
