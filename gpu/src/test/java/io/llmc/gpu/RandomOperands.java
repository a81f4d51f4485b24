// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;
import java.util.function.DoubleSupplier;

/// Operands in a device's memory that no kernel finds easier than real ones: zeros draw less power,
/// and NaN and infinities take other branches.
record RandomOperands(CudaBackend backend, TensorArena arena, SplittableRandom random)
        implements Workload.Operands {
    /// Elements that are drawn; they repeat after that.
    private static final int DRAWN = 1 << 20;

    private static final double INTS = 0x1p32;

    @Override
    public Tensor of(DType type, long... dims) {
        return switch (type) {
            case I32 -> fill(type, () -> random.nextDouble() * INTS - INTS / 2, dims);
            case U8 -> fill(type, () -> random.nextInt(16), dims);
            case F8_E4M3 -> fill(type, () -> random.nextInt(0x7f), dims); // codes of numbers
            default -> fill(type, () -> 2 * random.nextDouble() - 1, dims);
        };
    }

    @Override
    public Tensor indices(int bound, long... dims) {
        return fill(DType.I32, () -> random.nextInt(bound), dims);
    }

    @Override
    public Tensor pages(int first, int count) {
        int[] next = {first};
        return fill(DType.I32, () -> next[0]++, count);
    }

    @Override
    public Tensor ascending(long rows, long cols) {
        long[] next = {0};
        return fill(DType.F32, () -> next[0]++ % cols, rows, cols);
    }

    @Override
    public Tensor positive(long... dims) {
        return fill(DType.F32, () -> 1 - random.nextDouble(), dims);
    }

    @Override
    public Tensor definite(long n) {
        float[] beside = new float[(int) n];
        for (int i = 0; i < n; i++) {
            beside[i] = (float) ((random.nextDouble() - 0.5) / n);
        }
        Tensor t = arena.allocate(DType.F32, new Shape(n, n));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(t.byteSize(), 64);
            for (int i = 0; i < n; i++) {
                for (int j = 0; j < n; j++) {
                    float v = i == j ? 1 : beside[(int) ((i + j) % n)];
                    bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i * n + j, v);
                }
            }
            backend.upload(t, bytes);
        }
        return t;
    }

    private Tensor fill(DType type, DoubleSupplier next, long... dims) {
        Tensor t = arena.allocate(type, new Shape(dims));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment bytes = host.allocate(t.byteSize(), 64);
            long drawn = Math.min(DRAWN, t.shape().size());
            for (long i = 0; i < drawn; i++) {
                set(type, bytes, i, next.getAsDouble());
            }
            long done = type.bytesFor(drawn);
            while (done < bytes.byteSize()) {
                long part = Math.min(done, bytes.byteSize() - done);
                MemorySegment.copy(bytes, 0, bytes, done, part);
                done += part;
            }
            backend.upload(t, bytes);
        }
        return t;
    }

    private static void set(DType type, MemorySegment bytes, long i, double v) {
        switch (type) {
            case F32 -> bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) v);
            case F64 -> bytes.setAtIndex(ValueLayout.JAVA_DOUBLE, i, v);
            case I32 -> bytes.setAtIndex(ValueLayout.JAVA_INT, i, (int) v);
            case U8, F8_E4M3 -> bytes.set(ValueLayout.JAVA_BYTE, i, (byte) v);
            case BF16 ->
                    bytes.setAtIndex(
                            ValueLayout.JAVA_SHORT,
                            i,
                            (short) (Float.floatToRawIntBits((float) v) >>> 16));
            default -> throw new IllegalArgumentException("no random " + type);
        }
    }
}
