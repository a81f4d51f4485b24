// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.Arrays;

/// How fast a machine is, measured in a second or two: its memory, and products of matrices by the
/// backend's own kernels, which is what a roofline is made of.
///
/// @param nanos that a probe may take, about
/// @param bytes that are read, more than caches hold
public record MachineProbe(long nanos, long bytes) {
    public static final MachineProbe USUAL = new MachineProbe(1_500_000_000L, 256L << 20);

    /// Rows and columns of a product: enough to be made at full speed.
    private static final int ROWS = 512;

    private static final int WIDTH = 2048;

    /// Of what is read.
    private static final long COLS = 1 << 12;

    private static final int FEWEST = 3;
    private static final int MOST = 50;

    /// @param median a second
    /// @param low a quarter of the runs were slower
    /// @param high a quarter of them were faster
    /// @param best of the fastest run, which nothing else on the machine has slowed
    public record Rate(double median, double low, double high, double best, int runs) {
        /// @param amount of each run
        static Rate of(double amount, double[] seconds) {
            double[] rates = Arrays.stream(seconds).map(s -> amount / s).sorted().toArray();
            return new Rate(
                    rates[rates.length / 2],
                    rates[rates.length / 4],
                    rates[rates.length - 1 - rates.length / 4],
                    rates[rates.length - 1],
                    rates.length);
        }
    }

    /// Bytes of the device's memory that any of these takes.
    public long room() {
        return Math.max(reading(), room(DType.F32));
    }

    private long reading() {
        return 4 * rows() * COLS + (1 << 16);
    }

    private long rows() {
        return Math.max(1, bytes / 4 / COLS);
    }

    /// Bytes a second that are read from the device's memory, by all workers together.
    public Rate bandwidth(Backend backend) {
        try (TensorArena arena = backend.newArena(reading())) {
            Tensor x = arena.allocate(DType.F32, new Shape(rows(), COLS));
            // Pages of zeros that nobody has written may all be one.
            backend.run(new ForwardOp.Softcap(x, x, 1));
            return timed(4.0 * rows() * COLS, () -> backend.read(x));
        }
    }

    /// Additions and multiplications a second of products with a dense weight, as the backend was
    /// told to compute them.
    ///
    /// @param weights F32 or BF16
    public Rate products(Backend backend, DType weights) {
        try (TensorArena arena = backend.newArena(room(weights))) {
            Tensor x = arena.allocate(DType.F32, new Shape(ROWS, WIDTH));
            Tensor y = arena.allocate(DType.F32, new Shape(ROWS, WIDTH));
            Weight w = new Weight.Dense(arena.allocate(weights, new Shape(WIDTH, WIDTH)));
            return timed(backend, y, new ForwardOp.Matmul(y, x, w));
        }
    }

    /// The same of 8-bit integers.
    ///
    /// @param backend that [multiplies integers][Backend#multipliesIntegers]
    public Rate integerProducts(Backend backend) {
        Encoding.Grid<Codes.Ints> grid = Encoding.ints(8, Tiles.ALL, true);
        try (TensorArena arena = backend.newArena(room(DType.F32))) {
            Tensor x = arena.allocate(DType.F32, new Shape(ROWS, WIDTH));
            Tensor y = arena.allocate(DType.F32, new Shape(ROWS, WIDTH));
            Weight.Grouped w =
                    new Weight.Grouped(
                            grid,
                            WIDTH,
                            arena.allocate(DType.I32, new Shape(WIDTH, WIDTH / 4)),
                            arena.allocate(DType.F32, new Shape(WIDTH, 1)),
                            arena.allocate(DType.U8, new Shape(WIDTH, 1)),
                            null);
            InputRounding rounding =
                    InputRounding.dynamic(
                            new ActivationScheme(new Codes.Ints(8, true), Tiles.ROW, true));
            return timed(backend, y, new ForwardOp.IntegerMatmul(y, x, rounding, w));
        }
    }

    private static long room(DType weights) {
        return 2L * 4 * ROWS * WIDTH + weights.bytesFor((long) WIDTH * WIDTH) + (1 << 20);
    }

    /// A device waits for nobody: a number of the last run is asked for.
    private Rate timed(Backend backend, Tensor y, Op product) {
        Tensor first = y.rows(0, 1);
        return timed(
                2.0 * ROWS * WIDTH * WIDTH,
                () -> {
                    backend.run(product);
                    backend.floats(first);
                });
    }

    /// The first runs find kernels that are not compiled yet: the first half of the time is for
    /// them.
    private Rate timed(double amount, Runnable run) {
        long start = System.nanoTime();
        int warm = 0;
        while (warm < FEWEST || System.nanoTime() - start < nanos / 2 && warm < 4 * MOST) {
            run.run();
            warm++;
        }
        double[] seconds = new double[MOST];
        int runs = 0;
        start = System.nanoTime();
        while (runs < FEWEST || System.nanoTime() - start < nanos / 2 && runs < MOST) {
            long from = System.nanoTime();
            run.run();
            seconds[runs++] = (System.nanoTime() - from) / 1e9;
        }
        return Rate.of(amount, Arrays.copyOf(seconds, runs));
    }
}
